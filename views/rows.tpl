% # The rows of the table. An include for each of them would take half of the page's time. None in place
% # of an email or row makes what scripts copy and fill.
% for each in shown:
% each = each or {"id": 0, "line": 0, "email": "", "verdict": "", "explanation": ""}
% skipped = "kind" in each
% state = each["kind"] if skipped else each["verdict"] or (f"not {verb}" if ended else "pending")
% reason = each["explanation"] if not skipped else f"First on line {each['firstLine']:,}." if each["firstLine"] else ""
% content = each["content" if skipped else "email"]
<tr{{!"" if skipped else f' data-email="{each["id"]}"'}}>
<td class="pick"><input type="checkbox" aria-label="Select {{content}}"></td>
<td class="number line" data-field="line">{{phrases.count(each["line"])}}</td>
<th scope="row" class="address"><span data-field="email" dir="auto">{{content}}</span><button type="button" class="plain copy" aria-label="Copy {{content}}"></button></th>
<td class="state"><span class="badge" data-field="verdict" data-status="{{state}}">{{state.replace("_", " ")}}</span></td>
<td class="reason"><span data-field="reason">{{reason}}</span> <span data-field="suggestion">{{f"Did you mean {each['suggestion']}?" if each.get("suggestion") else ""}}</span>
% if each.get("answers"):
% include("answers", answers=each["answers"])
% else:
<div class="answers" data-field="answers"></div>
% end
</td>
</tr>
% end
