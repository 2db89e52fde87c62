% rebase("layout", title=f"{title} · Email batches")
<section class="card">
  <h1>{{status}} {{title}}</h1>
  <p>{{detail}}</p>
  <p><a href="/">Back to the batches</a></p>
</section>
