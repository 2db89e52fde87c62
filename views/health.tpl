<section class="health" id="health" aria-label="Health" data-url="/api/health" data-stream="/api/batches/stream"
         data-shared="{{static}}/js/live/shared.js" data-level="{{health["notice"]["level"] if health["notice"] else "ok"}}" data-silent="{{silent}}">
% texts = health["texts"]
  <ul>
    % for name in ("level", "workers", "rate", "queue", "oldest", "database", "redis"):
    <li data-field="{{name}}">{{texts[name]}}</li>
    % end
  </ul>
  <div class="notice" id="notice">
    <span role="status" data-field="text">{{texts["text"]}}</span>
    <span data-field="lastSeen">{{texts["lastSeen"]}}</span>
    <span data-when="command"{{"" if texts["command"] else " hidden"}}>Start one: <code data-field="command">{{texts["command"]}}</code></span>
  </div>
</section>
