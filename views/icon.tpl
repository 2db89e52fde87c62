<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="12.5" fill="none" stroke="#9aa5bd" stroke-width="7"/>\\
% if percent:
<circle cx="16" cy="16" r="12.5" fill="none" stroke="{{"#1f9d55" if percent == 100 else "#2b5fd9"}}" stroke-width="7" pathLength="100" stroke-dasharray="{{percent}} 100" transform="rotate(-90 16 16)"/>\\
% end
</svg>
