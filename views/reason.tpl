% # Without a reason, this is what scripts copy and fill. The sum of rare reasons has no verdict, and no
% # link, because no email has it as its reason.
% each = each or {"reason": "", "explanation": "", "verdict": None, "count": 0}
<li data-reason="{{each["reason"]}}"><a{{!f' href="{path}?reason={each["reason"]}#emails"' if each["verdict"] else ""}} data-filter data-label="{{each["explanation"]}}"><span class="swatch" data-part="{{each["verdict"] or "left"}}"></span> <span data-field="explanation">{{each["explanation"]}}</span> <span class="soft" data-field="share">{{phrases.proportion(each["count"], processed)}}</span> <b data-field="count">{{count(each["count"])}}</b></a></li>
