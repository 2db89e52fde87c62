<span data-when="{{when}}"{{"" if shown else " hidden"}}><button type="button" class="plain danger" popovertarget="{{name}}-question">{{verb}}…</button>
<dialog class="question" id="{{name}}-question" popover aria-labelledby="{{name}}-title">
  <h2 id="{{name}}-title">{{question}}</h2>
  <p data-field="consequence">{{consequence}}</p>
  <form method="post" action="{{path}}/{{name}}" class="actions">
    % if which:
    <input type="hidden" name="which" value="{{which}}">
    % end
    <button class="danger">{{confirm}}</button>
    <button type="button" class="quiet" popovertarget="{{name}}-question" autofocus>{{otherwise}}</button>
  </form>
</dialog></span>
