% verdicts = each["verdicts"] if each else dict.fromkeys(("ok", "risky", "unknown", "invalid"), 0)
% total, done = (each["totalEmails"], each["processedCount"]) if each else (0, 0)
% if each:
<tr data-batch="{{each["id"]}}" data-revision="{{each["revision"]}}" data-status="{{each["status"]}}">
<th scope="row" class="file"><a data-field="filename" dir="auto" title="{{each["filename"]}}" href="/batches/{{each["id"]}}">{{each["filename"]}}</a></th>
<td class="when"><time datetime="{{each["createdAt"]}}" title="{{phrases.moment(each["createdAt"])}}">{{phrases.ago(each["createdAt"], now)}}</time><span data-field="by">{{phrases.by(each["uploadedBy"])}}</span></td>
% else:
<tr>
<th scope="row" class="file"><a data-field="filename" dir="auto"></a></th>
<td class="when"><time></time><span data-field="by"></span></td>
% end
<td class="number total" data-field="total" data-unit="{{"email" if total == 1 else "emails"}}">{{phrases.count(total)}}</td>
% for name, number in verdicts.items():
<td class="number" data-field="{{name}}" data-unit="{{name}}"{{"" if number else " data-zero"}}>{{phrases.count(number)}}</td>
% end
<td class="state"><span class="badge" data-field="status" data-status="{{each["status"] if each else ""}}">{{each["status"] if each else ""}}</span> <span class="pace" data-field="pace">\\
% if each and each["status"] == "processing":
{{phrases.pace(done, total, each["rate"], each["secondsLeft"])}}\\
% elif 0 < done < total:
{{phrases.pace(done, total, None, None)}}\\
% end
</span>\\
% if not each or each["status"] == "processing":
% include("bar", parts=tuple(verdicts.items()), whole=total)
% end
</td>
</tr>
