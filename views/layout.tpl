<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>{{title}}</title>
  <link rel="icon" href="{{static}}/icon.svg" type="image/svg+xml">
  % for name in ("tokens", "base", "table", "health", "bar", *get("styles", ())):
  <link rel="stylesheet" href="{{static}}/css/{{name}}.css">
  % end
  % if defined("script"):
  <script type="module" src="{{static}}/js/{{script}}.js"></script>
  % for path in preload:
  <link rel="modulepreload" href="{{static}}/{{path}}">
  % end
  % end
</head>
<body>
  <header class="site">
    <a class="brand" href="/"><img src="{{static}}/icon.svg" alt="" width="28" height="28"> Email batches</a>
    <span class="version">\\
% if get("user"):
<span class="user">{{user}}</span> · \\
% end
v{{version}}</span>
  </header>
  <main>
    {{!base}}
  </main>
</body>
</html>
