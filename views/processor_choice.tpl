% # The choice of a processor with its options; those of the others are hidden by choice.css, or by scripts.
% # `now_chosen` is the name of one, `values` and `cells` are what its controls say at first; if it can't be
% # used, no other is chosen in its place. `columns`, `ticked` and `column`, the one with the addresses, are
% # those of the list, for ticks; before a list is chosen, scripts learn them from its preview.
% names = [*offered.titles] if offered.offer(now_chosen) else ["", *offered.titles]
<div class="choice" id="choice" data-check="{{offered.check}}" data-own="{{now_chosen}}">
  % if offered.several:
  <label>Processor <select name="processor" autocomplete="off" required>
    % for name in names:
    <option value="{{name}}"{{" disabled" if name in offered.broken else " selected" if name == now_chosen else ""}}>{{offered.titles.get(name, "Choose…")}}</option>
    % end
  </select></label>
  % for name, why in offered.broken.items():
  <p class="hint" dir="auto">{{offered.titles[name]}} can’t be used: {{why}}</p>
  % end
  % else:
  <input type="hidden" name="processor" value="{{offered.all[0].name}}">
  % end
  % for each in offered.all:
  % if each.options or each.columns:
  % place = names.index(each.name) + 1
  <fieldset data-place="{{place}}" data-processor="{{each.name}}" data-title="{{each.title}}" data-taken="{{each.columns_json}}" aria-label="Options of {{each.title}}">
    % for number, option in enumerate(each.options):
    % name = f"option.{each.name}.{option.name}"
    % default = values[option.name] if each.name == now_chosen and option.name in values else option.default
    % text = "" if default is None else phrases.value(default)
    % about = f"about-{place}-{number}"
    % described = f' aria-describedby="{about}"' if option.about else ""
    <div class="option">
    <label>{{option.name.replace("_", " ").capitalize()}}
      % choices = [phrases.value(choice) for choice in option.choices] or (["yes", "no"] if option.kind is bool else [])
      % if choices:
      <select name="{{name}}" autocomplete="off"{{!described}}>
        % for choice in ([] if text else [""]) + choices:
        <option value="{{choice}}"{{" selected" if choice == text else ""}}>{{choice or "choose"}}</option>
        % end
      </select>
      % else:
      % kind = {int: 'type="number" step="1"', float: 'type="number" step="any"'}.get(option.kind, 'type="text"')
      <input {{!kind}} name="{{name}}" value="{{text}}" maxlength="500" autocomplete="off"{{!described}}>
      % end
    </label>
    % if option.about:
    <p class="hint" id="{{about}}" dir="auto">{{option.about}}</p>
    % end
    </div>
    % end
    % if each.columns:
    <p class="hint" dir="auto">{{phrases.takes(each.columns)}}</p>
    % end
  </fieldset>
  % end
  % end
  <label class="cells">Further columns <input name="columns" value="{{cells}}" placeholder="none" autocomplete="off" aria-describedby="about-cells"></label>
  <p class="hint cells" id="about-cells">Headers, separated by commas; * for all</p>
  <fieldset class="ticks" data-columns="{{columns}}" data-column="{{column}}" data-ticked="{{ticked}}" hidden disabled>
    <legend>Further columns that the processor gets</legend>
    <template><label><input type="checkbox" autocomplete="off"><span dir="auto"></span></label></template>
  </fieldset>
  <p class="lacking" data-field="lacking" role="status" hidden></p>
</div>
