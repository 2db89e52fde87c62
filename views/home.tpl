% rebase("layout", title="Email batches", styles=("upload", "batches", *(("choice",) if offered.has_choice else ())), restores=offered.has_choice)
% if deleted:
<p class="message" role="status">Batch {{deleted}} has been deleted.</p>
% end
<section class="card upload" aria-labelledby="upload-heading">
  <h1 id="upload-heading">Upload a list</h1>
  % if first and checks:
  <p{{!f' data-of="{offered.check}"' if offered.several else ""}}>Each address is checked: its syntax, its domain, and what is risky about it. Nothing is sent to anybody.</p>
  % end
  % if health["texts"]["lookupsOff"]:
  <p class="message" id="lookups-off"{{!f' data-of="{offered.check}"' if offered.several else ""}}{{" hidden" if offered.several and not checks else ""}}>{{health["texts"]["lookupsOff"]}}</p>
  % end
  <form id="upload" action="/upload" method="post" enctype="multipart/form-data" data-api="/api/upload"
        data-preview="/api/preview" data-batches="/batches/" data-max-megabytes="{{max_megabytes}}">
    <label class="drop{{"" if first else " small"}}" for="file">
      <span class="drop-title" id="chosen">Choose a CSV or Excel file, or drop it anywhere on this page</span>
      <span class="drop-hint">Addresses in any column; CSV, text, XLSX, XLS or ODS, up to {{max_megabytes}} MB</span>
      <input type="file" id="file" name="file">
    </label>
    <ul class="files" id="files" aria-label="Chosen files" hidden></ul>
    <div class="instead">
      <details class="paste" id="paste">
        <summary>or paste addresses</summary>
        <label for="text">Addresses, one per line or separated by commas</label>
        <textarea id="text" name="text" rows="5" dir="auto" spellcheck="false" autocomplete="off"></textarea>
      </details>
      % if first:
      <a id="sample" href="{{static}}/sample.csv" download="Sample list.csv">Try it with a sample list</a>
      % end
    </div>
    % if offered.has_choice:
    % include("processor_choice", now_chosen=offered.default, values={}, cells="", columns="", column=0, ticked="[]")
    % end
    <p class="error" id="upload-error" role="alert" hidden></p>
    <p class="headline" id="headline" role="status"></p>
    <p class="error" id="preview-problem" role="alert" hidden></p>
    <div class="actions" id="upload-actions">
      <button type="submit">Upload &amp; process</button>
      <details class="beginning" id="beginning">
        <summary>When and how fast</summary>
        <fieldset class="guesses" aria-label="When and how fast">
          <label>Emails a minute, at most <input type="number" name="per_minute" min="1" max="{{most_per_minute}}" placeholder="no limit" autocomplete="off"></label>
          <label>Begin <select name="paused" data-at="at a set time" autocomplete="off"><option value="no">at once</option><option value="yes">paused</option></select></label>
          <label hidden>Time <input type="datetime-local" max="9000-01-01T00:00" autocomplete="off" required disabled></label>
        </fieldset>
      </details>
      <button type="button" class="quiet" id="cancel-upload" hidden>Cancel</button>
      <progress id="upload-progress" max="1" value="0" aria-label="Upload" hidden></progress>
      <span id="upload-state" role="status"></span>
    </div>
    <fieldset class="preview" id="preview" aria-label="Preview" disabled hidden>
      <p class="detected" id="detected"></p>
      <details class="change" id="change">
        <summary>Change how the file is read</summary>
        <p id="others" hidden><span></span> <button type="button" class="quiet"></button></p>
        <div class="encodings" id="encodings" role="group" aria-labelledby="encodings-heading" hidden>
          <p id="encodings-heading">The file doesn’t say how letters such as ä, ł or я are written in it. If another line looks right, choose it.</p>
          <ul></ul>
        </div>
        <div class="guesses">
          <label data-when="sheets">Sheet <select name="sheet"></select></label>
          <label data-when="table">Address column <select name="column"></select></label>
          <label data-when="table">Header <select name="header"></select></label>
          <label data-when="several">Several addresses in a cell <select name="split"><option value="yes">are an email each</option><option value="no">stay together</option></select></label>
          <label data-when="csv">Delimiter <select name="delimiter">
            % for name, character in delimiters.items():
            <option value="{{name}}" data-character="{{character}}">{{name}}</option>
            % end
          </select></label>
          <label data-when="text">Encoding <select name="encoding">
            % for name in encodings:
            <option>{{name}}</option>
            % end
          </select></label>
          <button type="button" class="quiet" id="detect" hidden>Detect again</button>
        </div>
        <p class="hint" data-when="table">If the header is on another line, click that line’s number below.</p>
      </details>
      <div class="scroll" role="region" aria-label="The first rows" tabindex="0"><table><thead><tr></tr></thead><tbody></tbody></table></div>
    </fieldset>
  </form>
</section>

<section class="card batches{{" by-users" if user else ""}}" id="recent" data-url="/api/batches" data-page="/batches/" data-now="{{now.isoformat()}}" aria-labelledby="batches-heading">
  <div class="heading">
    <h2 id="batches-heading">Recent batches</h2>
    <span class="connection" data-field="connection" role="status"></span>
    <form id="filter" action="/" role="search"{{" hidden" if first else ""}}>
      <input type="search" name="q" value="{{query["q"]}}" maxlength="254" placeholder="File name" aria-label="File name contains">
      <select name="status" aria-label="Status">
        <option value="">any status</option>
        % for status in statuses:
        <option{{" selected" if status == query["status"] else ""}}>{{status}}</option>
        % end
      </select>
      % if offered.several:
      <select name="processor" aria-label="Processor of the batches" data-default="{{offered.unnamed}}">
        <option value="">any processor</option>
        % for name, title in offered.titles.items():
        <option value="{{name}}"{{" selected" if name == query["processor"] else ""}}>{{title}}</option>
        % end
      </select>
      % end
      <button class="quiet">Search</button>
    </form>
  </div>
  <p class="error" id="batches-error" role="alert" hidden></p>
  <table class="fitting" id="batches" aria-labelledby="batches-heading"{{"" if batches else " hidden"}}>
    <thead>
      <tr>
        <th scope="col" class="file" data-sort="text">File</th>
        <th scope="col" class="when" data-sort="age">Uploaded</th>
        <th scope="col" class="number" data-sort="number">Emails</th>
        % for verdict in verdicts:
        <th scope="col" class="number" data-sort="number" data-part="{{verdict}}">{{verdict}}</th>
        % end
        <th scope="col" class="state" data-sort="text">Status</th>
      </tr>
    </thead>
    <tbody>
      % for each in batches:
      % include("batch_row", each=each)
      % end
    </tbody>
  </table>
  <p class="empty" id="no-batches"{{" hidden" if batches else ""}}><span data-when="unfiltered"{{" hidden" if filtered else ""}}>Nothing has been uploaded so far. Your batches show here, with their progress.</span><span data-when="filtered"{{"" if filtered else " hidden"}}>No matching batches. <a href="/">Show all</a></span></p>
  <p class="more"><a id="more" rel="next" href="{{more}}"{{"" if more else " hidden"}}>Show older batches</a></p>
  <template>
    % include("batch_row", each=None)
  </template>
</section>
<div class="dropzone" id="dropzone" hidden>Drop your file to see what is in it</div>
