// A bar of coloured parts: one rectangle each, in an SVG that is 1,000 wide.

export function drawBar(svg, whole, parts) {
  let x = 0;
  for (const [name, number] of Object.entries(parts)) {
    const width = whole ? (1000 * number) / whole : 0;
    const part = svg.querySelector(`[data-part="${name}"]`);
    part.setAttribute("x", x);
    part.setAttribute("width", width);
    x += width;
  }
}
