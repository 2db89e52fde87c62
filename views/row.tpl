% if each:
% skipped = "kind" in each
% state = each["kind"] if skipped else each["verdict"] or "pending"
% reason = each["explanation"] if not skipped else f"First on line {each['firstLine']:,}." if each["firstLine"] else ""
<tr data-line="{{each["line"]}}">
<td class="number line" data-field="line">{{phrases.count(each["line"])}}</td>
<th scope="row" class="address" data-field="email">{{each["content" if skipped else "email"]}}</th>
<td class="state"><span class="badge" data-field="verdict" data-status="{{state}}">{{state.replace("_", " ")}}</span></td>
<td class="reason"><span data-field="reason">{{reason}}</span> <span data-field="suggestion">{{f"Meant: {each['suggestion']}" if each.get("suggestion") else ""}}</span></td>
% else:
<tr>
<td class="number line" data-field="line"></td>
<th scope="row" class="address" data-field="email"></th>
<td class="state"><span class="badge" data-field="verdict"></span></td>
<td class="reason"><span data-field="reason"></span> <span data-field="suggestion"></span></td>
% end
</tr>
