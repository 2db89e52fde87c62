% if each:
<tr data-batch="{{each["id"]}}" data-revision="{{each["revision"]}}" data-status="{{each["status"]}}">
  <th scope="row" class="file"><a data-field="filename" href="/batches/{{each["id"]}}">{{each["filename"]}}</a></th>
  <td class="when"><time data-field="created" datetime="{{each["createdAt"]}}">{{phrases.moment(each["createdAt"])}}</time><span class="by" data-field="by">{{phrases.by(each["uploadedBy"])}}</span></td>
% else:
<tr>
  <th scope="row" class="file"><a data-field="filename"></a></th>
  <td class="when"><time data-field="created"></time><span class="by" data-field="by"></span></td>
% end
  <td class="number rows" data-field="rows">{{phrases.count(each["rows"]["total"]) if each else ""}}</td>
  <td class="done">\\
% done, failed = (each["processedCount"], each["failedCount"]) if each else (0, 0)
% include("bar", parts=tuple((each["verdicts"] if each else dict.fromkeys(("ok", "risky", "unknown", "invalid"), 0)).items()), whole=each["totalEmails"] if each else 0)
<span class="share" data-field="percent">{{f"{phrases.percent(done, each['totalEmails'])}%" if each else ""}}</span> <span class="failed" data-field="failed">{{f"{failed:,} failed" if failed else ""}}</span></td>
  <td class="state"><span class="badge" data-field="status" data-status="{{each["status"] if each else ""}}">{{each["status"] if each else ""}}</span></td>
  <td class="number rate" data-field="rate">{{phrases.rate(each.get("rate")) if each else ""}}</td>
  <td class="number left" data-field="left">{{phrases.clock(each.get("secondsLeft")) if each else ""}}</td>
</tr>
