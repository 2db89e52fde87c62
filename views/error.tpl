% rebase("layout", title=f"{title} · Email batches")
<section class="card">
  <h1>{{status}} {{title}}</h1>
  <p>{{detail}}</p>
  <p class="actions"><a class="button quiet" href="/">Back to the batches</a></p>
  % if request_id:
  <p><small>The server's log calls this request {{request_id}}.</small></p>
  % end
</section>
