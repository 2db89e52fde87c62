<svg class="bar" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true">
% x = 0
% for name, number in parts:
% width = phrases.share(number, whole)
<rect data-part="{{name}}" x="{{x}}" width="{{width}}" height="10"/>
% x += width
% end
</svg>
