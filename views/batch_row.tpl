% # Without a batch, this is what scripts copy and fill.
% has_bar = not each or each["status"] == "processing"
% each = each or {"id": 0, "revision": 0, "status": "", "filename": "", "createdAt": now.isoformat(), "uploadedBy": None, "totalEmails": 0, "processedCount": 0, "verdicts": dict.fromkeys(verdicts, 0), "paused": None, "perMinute": None, "processor": None}
% total, done = each["totalEmails"], each["processedCount"]
% badge = "paused" if each["paused"] else each["status"]
<tr data-batch="{{each["id"]}}" data-revision="{{each["revision"]}}" data-status="{{each["status"]}}">
<th scope="row" class="file"><a data-field="filename" dir="auto" title="{{each["filename"]}}" href="/batches/{{each["id"]}}">{{each["filename"]}}</a>\\
% if offered.several:
<span class="processor" data-field="processor">{{offered.title(each["processor"])}}</span>\\
% end
</th>
<td class="when"><time datetime="{{each["createdAt"]}}" title="{{phrases.moment(each["createdAt"])}}">{{phrases.ago(each["createdAt"], now)}}</time><span data-field="by">{{phrases.by(each["uploadedBy"])}}</span></td>
<td class="number total" data-field="total" data-unit="{{"email" if total == 1 else "emails"}}">{{phrases.count(total)}}</td>
% for name, number in each["verdicts"].items():
<td class="number" data-field="{{name}}" data-unit="{{name}}"{{"" if number else " data-zero"}}>{{phrases.count(number)}}</td>
% end
<td class="state"><span class="badge" data-field="status" data-status="{{badge}}">{{badge}}</span> <span class="course"><span class="pace" data-field="pace">\\
% if each["status"] == "processing" or 0 < done < total:
{{phrases.pace(done, total, *((None, None) if each["paused"] else (each["rate"], each["secondsLeft"])))}}\\
% end
</span><span class="pace" data-field="limit">{{phrases.limit(each["perMinute"]) if badge in ("pending", "processing", "paused") else ""}}</span></span>\\
% if has_bar:
% include("bar", parts=tuple(each["verdicts"].items()), whole=total)
% end
</td>
</tr>
