<tr\\
% if each:
 data-line="{{each["line"]}}"\\
% end
>
  <td class="number line" data-field="line">{{phrases.count(each["line"]) if each else ""}}</td>
% if not each:
  <th scope="row" class="address" data-field="email"></th>
  <td class="state"><span class="badge" data-field="verdict"></span></td>
  <td class="reason"><span data-field="reason"></span> <span class="suggestion" data-field="suggestion"></span></td>
% elif "kind" in each:
  <th scope="row" class="address" data-field="email">{{each["content"]}}</th>
  <td class="state"><span class="badge" data-field="verdict" data-status="{{each["kind"]}}">{{each["kind"].replace("_", " ")}}</span></td>
  <td class="reason"><span data-field="reason">{{f"First on line {each['firstLine']:,}." if each["firstLine"] else ""}}</span> <span class="suggestion" data-field="suggestion"></span></td>
% else:
  <th scope="row" class="address" data-field="email">{{each["email"]}}</th>
  <td class="state"><span class="badge" data-field="verdict" data-status="{{each["verdict"] or "pending"}}">{{each["verdict"] or "pending"}}</span></td>
  <td class="reason"><span data-field="reason">{{each["explanation"]}}</span> <span class="suggestion" data-field="suggestion">{{f"Meant: {each['suggestion']}" if each["suggestion"] else ""}}</span></td>
% end
</tr>
