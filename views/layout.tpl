<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <meta name="description" content="Checks lists of email addresses without sending anything.">
  <title>{{title}}</title>
  <link rel="icon" href="{{static}}/icon.svg" type="image/svg+xml">
  % for name in ("tokens", "base", "table", "header", "bar", *get("styles", ())):
  <link rel="stylesheet" href="{{static}}/css/{{name}}.css">
  % end
  % if defined("script"):
  <script type="module" src="{{static}}/js/{{script}}.js"{{!' blocking="render"' if get("restores") else ""}}></script>
  % for path in preload:
  <link rel="modulepreload" href="{{static}}/{{path}}">
  % end
  % end
</head>
<body>
  % health = get("health")
  % texts, notice = (health["texts"], health["notice"]) if health else ({}, None)
  <header class="site"\\
% if health:
 id="health" data-level="{{notice["level"] if notice else "ok"}}" data-url="/api/health" data-stream="/api/batches/stream" data-shared="{{static}}/js/live/shared.js" data-silent="{{silent}}"\\
% end
>
    <div class="top">
      <a class="brand" href="/"><img src="{{static}}/icon.svg" alt="" width="28" height="28"> Email batches</a>
      % if health:
      <details class="menu health">
        <summary class="button plain" data-field="level">{{texts["level"]}}</summary>
        <ul class="panel">
          % for name in ("workers", "processors", "rate", "queue", "oldest", "database", "redis", "lookups"):
          <li data-field="{{name}}">{{texts[name]}}</li>
          % end
        </ul>
      </details>
      % end
      <span class="version">\\
% if get("user"):
<span class="user">{{user}}</span> \\
% end
<span class="number">v{{version}}</span></span>
    </div>
    % if health:
    <div class="notice" id="notice">
      <span role="status" data-field="text">{{texts["text"]}}</span>
      <span data-field="lastSeen">{{texts["lastSeen"]}}</span>
      <span data-when="command"{{"" if texts["command"] else " hidden"}}>Start one: <code data-field="command">\\
% include("command", command=texts["command"])
</code></span>
    </div>
    % end
  </header>
  <main>
    {{!base}}
  </main>
</body>
</html>
