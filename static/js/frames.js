// Drawing at most once a frame, however fast news comes.

export function oncePerFrame(draw) {
  let due = 0;
  return () => {
    due ||= requestAnimationFrame(() => {
      due = 0;
      draw();
    });
  };
}
