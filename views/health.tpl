<section class="health" id="health" aria-label="Health" data-url="/api/health" data-stream="/api/batches/stream"
         data-shared="{{static}}/js/shared.js" data-level="{{health["notice"]["level"] if health["notice"] else "ok"}}">
  <ul>
    % for name in ("level", "workers", "rate", "queue", "oldest", "database", "redis"):
    <li data-field="{{name}}">{{strip[name]}}</li>
    % end
  </ul>
  <div class="notice" id="notice">
    <span role="status" data-field="text">{{strip["text"]}}</span>
    <span data-field="lastSeen">{{strip["lastSeen"]}}</span>
    <span data-when="command"{{"" if strip["command"] else " hidden"}}>Start one: <code data-field="command">{{strip["command"]}}</code></span>
  </div>
</section>
