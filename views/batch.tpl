% rebase("layout", title=f"{batch['filename']} · Email batches", styles=("batch", "emails", *(("choice",) if offered.has_choice else ())))
% count, status, paused = phrases.count, batch["status"], batch["paused"]
% badge = "paused" if paused else status
% total, processed, failed = batch["totalEmails"], batch["processedCount"], batch["failedCount"]
% verdicts, split, details = batch["verdicts"], batch["rows"], batch["reasonDetails"]
% most = 8  # reasons that are shown at once; the others are one click away
% percent = phrases.percent(processed, total)
% api = f"/api/batches/{batch['id']}"
% containing = f"containing “{query['q']}”" if query["q"] and not query["kind"] else ""
% narrowed = " · ".join(filter(None, (label, containing)))
<nav class="back" aria-label="Breadcrumb"><a href="/">All batches</a></nav>
<section class="card status" id="status" aria-labelledby="filename" data-batch="{{batch["id"]}}" data-url="{{api}}"
         data-revision="{{batch["revision"]}}" data-status="{{status}}" data-processed="{{processed}}" data-icon="{{static}}/progress/" data-verb="{{verb}}" data-processor="{{offered.name(batch["processor"])}}"{{" data-ended" if ended else ""}}>
  <div class="status-line">
    <h1 id="filename" data-field="filename" dir="auto">{{batch["filename"]}}</h1>
    <span class="badge" role="status" data-field="status" data-status="{{badge}}">{{badge}}</span>
    <span class="connection" data-field="connection" role="status"></span>
  </div>
  <p class="message" id="message" role="status" data-again="{{retried or 0}}"{{"" if retried else " hidden"}}>{{phrases.checked_again(retried, ended, verb) if retried else ""}}</p>
  <ul class="verdicts">
    % for verdict, number in verdicts.items():
    <li data-part="{{verdict}}"{{"" if number else " data-none"}}><a href="{{path}}?verdict={{verdict}}#emails" data-filter data-label="{{verdict}}"><b data-verdict="{{verdict}}">{{count(number)}}</b> {{verdict}} <span data-share="{{verdict}}">({{phrases.proportion(number, processed)}})</span></a></li>
    % end
  </ul>
  <div role="progressbar" id="bar" aria-label="Emails {{verb}}" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{{percent}}">
    % include("bar", parts=tuple(verdicts.items()), whole=total)
  </div>
  <div class="about">
  <div class="course">
    <p class="paused" data-when="paused" data-field="paused"{{"" if paused else " hidden"}}>{{f"{phrases.paused(paused)} {count(processed)} of {count(total)} {verb}." if paused else ""}}</p>
    <p class="waiting" data-when="pending"{{"" if status == "pending" and not paused else " hidden"}}>Waiting for a worker <span data-field="unfinished">{{f"· {health['unfinishedBatches']:,} unfinished" if health["unfinishedBatches"] else ""}}</span></p>
    % problem = unable.get("problem") if not ended and (offered.several or health["workersAlive"]) else None
    <p class="unable" data-field="unable"{{"" if problem else " hidden"}}><span>{{problem or ""}}</span> <code>\\
% include("command", command=unable.get("command") or "")
</code></p>
    <p class="running" data-when="processing"{{"" if status == "processing" and not paused else " hidden"}}>
      <b class="percent" data-field="percent">{{percent}}%</b>
      <span class="fraction"><span class="place" data-widest="{{count(total)}}"><span data-field="processed">{{count(processed)}}</span></span> of <span data-field="total">{{count(total)}}</span> {{verb}}</span>
      <span class="rate" data-field="rate">{{phrases.rate(batch.get("rate"))}}</span>
      <span class="left"{{" data-unknown" if batch.get("secondsLeft") is None else ""}}><span class="place" data-widest="0:00:00"><span data-field="left">{{phrases.clock(batch.get("secondsLeft"))}}</span></span> left</span>
      <span class="elapsed"><span class="place" data-widest="0:00:00"><span data-field="elapsed">{{phrases.clock(batch.get("elapsedSeconds"))}}</span></span> so far</span>
      <span class="later" data-field="waiting">{{phrases.waiting(batch["waiting"], batch["nextAt"])}}</span>
      <button class="quiet" form="finish" title="They become unknown" data-when="waiting"{{"" if batch["waiting"] else " hidden"}}>Finish now</button>
    </p>
    <p data-when="ended" data-field="ending"{{"" if ended else " hidden"}}>{{batch["ending"]}}</p>
    <details class="menu limit" data-when="unfinished"{{"" if batch["perMinute"] else " data-unlimited"}}{{" hidden" if ended else ""}}>
      <summary><span data-field="limit" data-none="Limit the rate">{{phrases.limit(batch["perMinute"]) or "Limit the rate"}}</span>&nbsp;▾</summary>
      <form class="panel" method="post" action="{{path}}/rate">
        <label for="per-minute">Emails a minute, at most</label>
        <input type="number" id="per-minute" name="per_minute" min="1" max="{{most_per_minute}}" value="{{batch["perMinute"] or ""}}" autocomplete="off" aria-describedby="no-limit">
        <button class="quiet">Set</button>
        <p class="soft" id="no-limit">Empty for no limit</p>
      </form>
    </details>
  </div>
  <div class="facts">
    <p>
      {{phrases.several(split["total"], "row")}}{{f" + {phrases.several(split['furtherAddresses'], 'further address', 'further addresses')}" if split["furtherAddresses"] else ""}} = <a href="{{path}}#emails" data-filter data-label="">{{phrases.several(split["emails"], "email")}}</a>
      % for kind, name in (("duplicate", "duplicates"), ("without_address", "withoutAddress"), ("blank", "blank")):
      % if split[name]:
      + <a href="{{path}}?kind={{kind}}#emails" data-filter data-label="{{kinds[kind][1]}}">{{phrases.several(split[name], *kinds[kind])}}</a>
      % end
      % end
    </p>
    % if split["withOtherAddresses"]:
    <p>{{phrases.further_addresses(split["withOtherAddresses"])}}, which were not looked at. Upload the file again with another address column to have them {{verb}}.</p>
    % end
    <p>Uploaded <time datetime="{{batch["createdAt"]}}">{{phrases.moment(batch["createdAt"])}}</time>{{phrases.by(batch["uploadedBy"])}}{{f", read as {batch['format']['text']}" if batch["format"] else ""}}.</p>
    % if offered.several or batch["options"] or batch["columns"]:
    % said = ", ".join(filter(None, (phrases.options(batch["options"]), phrases.columns(batch["columns"]))))
    <p id="processor" dir="auto" title="{{said}}">{{offered.title(batch["processor"])}}{{f": {phrases.shorten(said, 300)}" if said else ""}}</p>
    % end
    % if lacking:
    <p class="lacking" dir="auto">{{phrases.lacking(lacking, offered.title(batch["processor"]))}}</p>
    % end
    % if batch["error"]:
    <p class="error">{{batch["error"]}}</p>
    % end
    <ul id="history">
      % for action in batch["history"]:
      <li><span>{{action["text"]}}</span>, <time datetime="{{action["at"]}}">{{phrases.moment(action["at"])}}</time></li>
      % end
    </ul>
    <template id="action"><li><span></span>, <time></time></li></template>
  </div>
  % if not ended:
  % include("chart")
  % end
  </div>
  <form id="finish" method="post" action="{{path}}/finish"></form>
  <div class="actions">
    <div class="downloads">
      <a class="button" href="{{api}}/results.{{endings[0][0]}}" download>Download results</a>
      <details class="menu">
        <summary class="button" aria-label="Other downloads"><span aria-hidden="true">▾</span></summary>
        <table class="panel">
          % for row, words, only in (("", "all", ""), *(("", verdict, f"only={verdict}") for verdict in verdicts), ("these", "what is shown below", filtered)):
          <tr{{!' id="these"' if row else ""}}{{" hidden" if row and not only else ""}}><th scope="row">{{words}}</th>
            % for ending, name in endings:
            <td><a href="{{api}}/results.{{ending}}{{f"?{only}" if only else ""}}" aria-label="Download {{words}} as {{name}}" download>{{name}}</a></td>
            % end
          </tr>
          % end
        </table>
      </details>
      <span class="soft" data-when="unfinished"{{" hidden" if ended else ""}}>so far</span>
    </div>
    % offers_again = offered.has_choice and batch["format"]
    <details class="menu" data-when="again"{{"" if status == "completed" and (rechecked or unknown) else " hidden"}}>
      <summary class="button quiet">{{"Retry" if offers_again else "Check again" if verb == "checked" else "Process again"}} ▾</summary>
      <form class="panel" method="post" action="{{path}}/retry" data-malformed="{{" ".join(malformed)}}">
        % for which, words, number in (("failed", "invalid", rechecked), ("unknown", "unknown", unknown)):
        <button class="plain" name="which" value="{{which}}"{{"" if number else " hidden"}}><span data-count="{{words}}">{{count(number)}}</span>&nbsp;{{words}}</button>
        % end
      </form>
    </details>
    % if offers_again:
    <details class="menu again" data-when="ended"{{"" if ended else " hidden"}}>
      <summary class="button quiet">Process again with… ▾</summary>
      <form class="panel" method="post" action="{{path}}/again">
        % include("processor_choice", now_chosen=offered.name(batch["processor"]), values=batch["options"], cells=cells, columns=columns, column=column, ticked=ticked)
        <div class="actions">
          <button>Process all rows</button>
          <button class="quiet" id="again-these" formaction="{{path}}/again{{f"?{filtered}" if filtered else ""}}"{{"" if filtered else " hidden"}}>Only what is shown below</button>
        </div>
      </form>
    </details>
    % end
    % for name, action, when, shown in (("pause", "Pause", "going", not ended and not paused), ("resume", "Resume", "paused", paused)):
    <form method="post" action="{{path}}/{{name}}" data-when="{{when}}"{{"" if shown else " hidden"}}><button class="quiet">{{action}}</button></form>
    % end
    <button type="button" class="quiet" id="notify" data-off title="When the batch is done"{{" hidden" if ended else ""}}>Notify me</button>
    % include("question", when="unfinished", shown=not ended, name="cancel", which="", verb="Cancel", confirm="Cancel batch", otherwise="Keep running", question="Cancel this batch?", consequence=f"What has been {verb} keeps its result. To have the rest {verb} later, upload the file again.")
    % include("question", when="ended", shown=ended, name="delete", which="", verb="Delete", confirm="Delete batch", otherwise="Keep it", question="Delete this batch?", consequence="Its file, its emails and their results are deleted for everybody. That can’t be undone.")
  </div>
</section>

<div class="columns">
<section class="card reasons" id="outcomes" aria-labelledby="outcomes-heading">
  <h2 id="outcomes-heading">Reasons</h2>
  <p class="empty" id="no-reasons"{{" hidden" if details else ""}}><span data-when="none"{{"" if ended else " hidden"}}>No email has a reason.</span><span data-when="counted"{{" hidden" if ended else ""}}>Each email that isn’t ok has a reason, which is counted here.</span></p>
  <ul id="reasons" data-most="{{most}}">
    % for each in details[:most]:
    % include("reason", each=each)
    % end
  </ul>
  <details id="more-reasons"{{"" if len(details) > most else " hidden"}}>
    <summary><span data-field="more">{{count(max(len(details) - most, 0))}}</span> more</summary>
    <ul>
      % for each in details[most:]:
      % include("reason", each=each)
      % end
    </ul>
  </details>
  % include("question", when="interrupted", shown=status == "completed" and interrupted, name="retry", which="interrupted", verb="Repeat what may have been done", confirm="Do it again", otherwise="Leave it", question="Do it again?", consequence=phrases.interrupted(interrupted))
  <template id="reason">
    % include("reason", each=None)
  </template>
  <div class="typos" id="typos" data-url="{{api}}/typos" hidden>
    <h3>Likely typos</h3>
    <ul></ul>
    <template><li><a data-filter></a></li></template>
  </div>
</section>

<section class="card emails" id="emails" aria-labelledby="emails-heading" data-api="{{api}}" data-path="{{path}}">
  <div class="heading">
    <h2 id="emails-heading" tabindex="-1">Emails</h2>
    <span class="soft" data-field="of">{{phrases.shown(len(rows), matching)}}</span>
    <form id="search" action="{{path}}#emails" role="search">
      % for name in ("verdict", "reason", "status"):
      % if query[name]:
      <input type="hidden" name="{{name}}" value="{{query[name]}}">
      % end
      % end
      <input type="search" name="q" value="{{query["q"]}}" maxlength="254" placeholder="Part of an address" aria-label="Address contains">
      <button class="quiet">Search</button>
    </form>
  </div>
  <p class="shown" role="status"><b data-field="shown" data-label="{{label}}">{{f"Only: {narrowed}" if narrowed else ""}}</b>
    <a id="clear" href="{{path}}#emails" data-filter data-label=""{{"" if later or any(query.values()) else " hidden"}}>Show all</a></p>
  <p class="error" id="emails-error" role="alert" hidden></p>
  <table class="fitting" id="rows" aria-labelledby="emails-heading"{{"" if rows else " hidden"}}>
    <thead><tr>
      <th scope="col" class="pick"><input type="checkbox" id="pick-all" aria-label="Select all that are shown"></th>
      <th scope="col" class="number line">Line</th>
      <th scope="col" class="address">Address <button type="button" class="quiet" id="copy-picked" hidden></button></th>
      <th scope="col" class="state">Result</th>
      <th scope="col" class="reason">Reason{{"" if verb == "checked" and not batch["answers"] else " and answers"}}</th>
    </tr></thead>
    <tbody>
      % include("rows", shown=rows)
    </tbody>
  </table>
  <p class="empty" id="no-rows"{{" hidden" if rows or more else ""}}>No matching emails</p>
  <p class="more"><a id="more" rel="next" href="{{more}}"{{"" if more else " hidden"}}>Show more</a> <span data-field="looked" role="status"></span></p>
  <template>
    % include("rows", shown=[None])
  </template>
</section>
</div>
