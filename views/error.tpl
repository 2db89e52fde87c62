% rebase("layout", title=f"{heading} · Email batches")
<section class="card">
  <h1>{{heading}}</h1>
  <p>{{detail}}</p>
  <p class="actions"><a class="button quiet" href="{{back}}">{{"Back to the batches" if back == "/" else "Back to the batch"}}</a></p>
  <p class="soft"><small>{{status}} {{title}}{{f". The server’s log calls this request {request_id}." if request_id else ""}}</small></p>
</section>
