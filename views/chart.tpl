% rates = batch.get("rates") or {"interval": 1, "points": []}
% points, most = rates["points"], max([*rates["points"], batch["rate"] or 0])
% line = " ".join(f"{60 * i / max(len(points) - 1, 1):.1f},{19 - 18 * point / (most or 1):.1f}" for i, point in enumerate(points))
<figure class="chart" id="chart" data-interval="{{rates["interval"]}}" data-most="{{most}}" data-points="{{" ".join(f"{point:.0f}" for point in points)}}"{{" data-empty" if len(points) < 2 else ""}}>
  <svg viewBox="0 0 60 20" preserveAspectRatio="none" aria-hidden="true"><polygon points="0,20 {{line}} 60,20"/><polyline points="{{line}}"/></svg>
  <figcaption>Rate over time, <span data-field="most">{{phrases.rate(most)}}</span> at most</figcaption>
</figure>
