% # The choice of a processor with its options; those of the others are hidden by choice.css, or by scripts.
% # `now_chosen` is the name of one, `values` and `cells` are what its controls say at first.
<div class="choice" id="choice" data-check="{{offered.check}}" data-taken="{{offered.taken_json}}">
  % if offered.several:
  <label>Processor <select name="processor" autocomplete="off">
    % for each in offered.all:
    <option value="{{each.name}}"{{" selected" if each.name == now_chosen else ""}}>{{each.title}}</option>
    % end
  </select></label>
  % else:
  <input type="hidden" name="processor" value="{{offered.all[0].name}}">
  % end
  % for place, each in enumerate(offered.all, 1):
  % if each.options:
  <fieldset class="guesses" data-place="{{place}}" data-processor="{{each.name}}" aria-label="Options of {{each.title}}">
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
  </fieldset>
  % end
  % end
  <label class="cells">Columns that it gets <input name="columns" value="{{cells}}" placeholder="none" autocomplete="off" aria-describedby="about-cells"></label>
  <p class="hint cells" id="about-cells">Headers, separated by commas; * for all</p>
</div>
