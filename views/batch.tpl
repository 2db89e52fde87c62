% rebase("layout", title=f"{batch['filename']} · Email batches", styles=("batch", "emails"))
% count, status = phrases.count, batch["status"]
% total, processed, failed = batch["totalEmails"], batch["processedCount"], batch["failedCount"]
% verdicts, split = batch["verdicts"], batch["rows"]
% further = split["furtherAddresses"]
% again = ("was" if ended else "is") if retried == 1 else "were" if ended else "are"
% percent = phrases.percent(processed, total)
<nav class="back" aria-label="Breadcrumb"><a href="/">All batches</a></nav>
<section class="card status" id="status" aria-labelledby="filename" data-batch="{{batch["id"]}}" data-url="/api/batches/{{batch["id"]}}"
         data-revision="{{batch["revision"]}}" data-status="{{status}}" data-processed="{{processed}}" data-icon="{{static}}/progress/">
  <div class="status-line">
    <h1 id="filename" data-field="filename">{{batch["filename"]}}</h1>
    <span class="badge" role="status" data-field="status" data-status="{{status}}">{{status}}</span>
    <span class="connection" data-field="connection" role="status"></span>
  </div>
  <p class="message" id="message" role="status" data-again="{{retried or 0}}"{{"" if retried else " hidden"}}>{{f"{phrases.several(retried, 'email')} {again} processed again." if retried else ""}}</p>
  <div role="progressbar" id="bar" aria-label="Emails processed" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{{percent}}">
    % include("bar", parts=tuple(verdicts.items()), whole=total)
  </div>
  <div class="numbers">
    <p class="fraction"><b class="running" data-widest="{{count(total)}}"><span data-field="processed">{{count(processed)}}</span></b> / <span data-field="total">{{count(total)}}</span></p>
    <p class="percent"><b data-field="percent">{{percent}}%</b></p>
    <dl>
      <div><dt>failed</dt><dd data-field="failed">{{count(failed)}}</dd></div>
      <div><dt>rate</dt><dd data-field="rate">{{phrases.rate(batch.get("rate"))}}</dd></div>
      <div><dt>time left</dt><dd data-field="left">{{phrases.clock(batch.get("secondsLeft"))}}</dd></div>
      <div><dt>elapsed</dt><dd data-field="elapsed">{{phrases.clock(batch.get("elapsedSeconds"))}}</dd></div>
    </dl>
    <div class="chart-place">
      <p class="waiting" id="waiting"{{" hidden" if status != "pending" else ""}}>Waiting for a worker’s turn. <span data-field="unfinished">{{f"Unfinished batches in all: {health['unfinishedBatches']:,}." if health["unfinishedBatches"] else ""}}</span></p>
      % include("chart")
    </div>
  </div>
  <p class="accounting">
    <a href="{{path}}#emails" data-filter data-label="">{{phrases.several(split["total"], "row")}}</a>{{f" + {phrases.several(further, 'further address', 'further addresses')}" if further else ""}} =
    <a href="{{path}}#emails" data-filter data-label="">{{count(split["emails"])}} <span data-field="word">{{"checked" if status == "completed" else "email" if split["emails"] == 1 else "emails"}}</span></a>
    % for kind, name, words in (("duplicate", "duplicates", "duplicates"), ("without_address", "withoutAddress", "without an address"), ("blank", "blank", "blank")):
    + <a href="{{path}}?kind={{kind}}#emails" data-filter data-label="{{words}}">{{count(split[name])}} {{"duplicate" if name == "duplicates" and split[name] == 1 else words}}</a>
    % end
  </p>
  % if split["withOtherAddresses"]:
  <p class="facts">{{phrases.further_addresses(split["withOtherAddresses"])}}, which were not looked at. Upload the file again with another address column to process them.</p>
  % end
  <p class="facts">Uploaded <time datetime="{{batch["createdAt"]}}">{{phrases.moment(batch["createdAt"])}}</time>{{phrases.by(batch["uploadedBy"])}}{{f", read as {batch['format']['text']}" if batch["format"] else ""}}.
    % if batch["error"]:
    <span class="error">{{batch["error"]}}</span>
    % end
  </p>
  <ul class="facts history" id="history">
    % for action in batch["history"]:
    <li><span>{{action["text"]}}</span>, <time datetime="{{action["at"]}}">{{phrases.moment(action["at"])}}</time></li>
    % end
  </ul>
  <template id="action"><li><span></span>, <time></time></li></template>
  <div class="actions">
    <div class="downloads">
      <span aria-hidden="true">Download</span>
      % for ending, only, words in downloads:
      <a class="button quiet" href="/api/batches/{{batch["id"]}}/results.{{ending}}{{f"?only={only}" if only else ""}}" aria-label="Download {{words}}" download>{{words}}</a>
      % end
      <span class="partial" data-when="partial"{{" hidden" if processed == total else ""}}>so far</span>
    </div>
    <div class="changes">
      <form method="post" action="{{path}}/retry" data-when="completed"{{" hidden" if status != "completed" else ""}}>
        % for which, number in (("failed", failed), ("unknown", verdicts["unknown"])):
        <button class="quiet" name="which" value="{{which}}"{{"" if number else " hidden"}}>Retry {{which}} (<span data-count="{{which}}">{{count(number)}}</span>)</button>
        % end
      </form>
      % include("question", when="unfinished", shown=not ended, name="cancel", verb="Cancel", otherwise="Go on", question="Cancel this batch?", consequence="Processed emails keep their outcomes. The other emails will not be processed any more, not even by a retry.")
      % include("question", when="ended", shown=ended, name="delete", verb="Delete", otherwise="Keep it", question="Delete this batch?", consequence="Its file, its emails and their outcomes are deleted for everybody. That can’t be undone.")
      <button type="button" class="quiet" id="notify" data-off{{" hidden" if ended else ""}}>Notify me when done</button>
    </div>
  </div>
</section>

<div class="columns">
<section class="card outcomes" id="outcomes" aria-labelledby="outcomes-heading"{{"" if ended else " data-live"}}>
  <h2 id="outcomes-heading">What came out</h2>
  % include("bar", parts=tuple(verdicts.items()), whole=processed)
  <ul class="legend">
    % for verdict, number in verdicts.items():
    <li><a href="{{path}}?verdict={{verdict}}#emails" data-filter data-label="{{verdict}}"><span class="swatch" data-part="{{verdict}}"></span> {{verdict}} <b data-verdict="{{verdict}}">{{count(number)}}</b></a></li>
    % end
    <li><a href="{{path}}?status=pending#emails" data-filter data-label="not processed yet"><span class="swatch" data-part="left"></span> not processed yet <b data-verdict="left">{{count(total - processed)}}</b></a></li>
  </ul>
  <ul class="legend reasons" id="reasons">
    % for code, verdict, explanation, number in entries:
    <li data-reason="{{code}}"{{"" if number else " hidden"}}><a href="{{path}}?reason={{code}}#emails" data-filter data-label="{{explanation}}"><span class="swatch" data-part="{{verdict}}"></span> <span>{{explanation}}</span> <b>{{count(number)}}</b></a></li>
    % end
  </ul>
  <template id="reason"><li><a data-filter><span class="swatch"></span> <span data-field="reason"></span> <b></b></a></li></template>
  <div class="typos" id="typos" data-url="/api/batches/{{batch["id"]}}/typos" hidden>
    <h3>Likely typos</h3>
    <ul></ul>
    <template><li><a data-filter></a></li></template>
  </div>
</section>

% shown = query["kind"].replace("_", " ") or query["verdict"] or query["status"] or next((words for code, _, words, _ in entries if code == query["reason"]), query["reason"])
<section class="card emails" id="emails" aria-labelledby="emails-heading" data-api="/api/batches/{{batch["id"]}}" data-path="{{path}}">
  <div class="heading">
    <h2 id="emails-heading" tabindex="-1">Emails</h2>
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
  <div class="shown">
  <p role="status"><span data-field="shown">{{f"Only: {shown}" if shown else ""}}{{f" containing “{query['q']}”" if query["q"] and not query["kind"] else ""}}</span>
    <a id="clear" href="{{path}}#emails" data-filter data-label=""{{"" if later or any(query.values()) else " hidden"}}>Show all</a></p>
  <p id="these"{{"" if filtered else " hidden"}}>Download these:
    % for ending, words in these:
    <a href="/api/batches/{{batch["id"]}}/results.{{ending}}?{{filtered}}" aria-label="Download these as {{words}}" download>{{words}}</a>
    % end
  </p>
  </div>
  <p class="error" id="emails-error" role="alert" hidden></p>
  <table class="fitting" id="rows" aria-labelledby="emails-heading"{{"" if rows else " hidden"}}>
    <thead><tr><th scope="col" class="number line">Line</th><th scope="col" class="address">Address</th><th scope="col" class="state">Status</th><th scope="col" class="reason">Reason</th></tr></thead>
    <tbody>
      % for each in rows:
      % include("row", each=each)
      % end
    </tbody>
  </table>
  <p class="empty" id="no-rows"{{" hidden" if rows or more else ""}}>No matching rows.</p>
  <p class="more"><a id="more" rel="next" href="{{more}}"{{"" if more else " hidden"}}>Show more</a> <span data-field="looked" role="status"></span></p>
  <template id="row">
    % include("row", each=None)
  </template>
</section>
</div>
