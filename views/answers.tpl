% # The answers of a processor: the first few, shortened, and what they don't show a click away.
% few, more = phrases.few_answers(answers)
<div class="answers" data-field="answers">\\
<ul>
% for name, value in few:
<li><b dir="auto">{{name}}</b> <span dir="auto">{{value}}</span></li>
% end
</ul>
% if more:
<details><summary>More answers</summary><ul>
% for name, value in more:
<li><b dir="auto">{{name}}</b> <span dir="auto">{{value}}</span></li>
% end
</ul></details>
% end
</div>
