<span data-when="{{when}}"{{"" if shown else " hidden"}}><button type="button" class="plain danger" popovertarget="{{name}}-question">{{verb}}…</button>
<dialog class="question" id="{{name}}-question" popover aria-labelledby="{{name}}-title">
  <h2 id="{{name}}-title">{{question}}</h2>
  <p>{{consequence}}</p>
  <form method="post" action="{{path}}/{{name}}" class="actions">
    <button class="danger">{{verb}} batch</button>
    <button type="button" class="quiet" popovertarget="{{name}}-question" autofocus>{{otherwise}}</button>
  </form>
</dialog></span>
