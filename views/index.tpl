% rebase("layout", title="Email batches", script="main.js")
% count = lambda number: f"{number:,}"
<section class="health" id="health" aria-label="Health" data-url="/api/health"
         data-level="{{health["notice"]["level"] if health["notice"] else "ok"}}">
  <ul>
    % for name in ("level", "workers", "rate", "queue", "oldest", "database", "redis"):
    <li data-field="{{name}}">{{strip[name]}}</li>
    % end
  </ul>
  <div class="notice" id="notice">
    <span role="status" data-field="text">{{strip["text"]}}</span>
    <span data-field="lastSeen">{{strip["lastSeen"]}}</span>
    <span data-when="command"\\
% if not strip["command"]:
 hidden\\
% end
>Start one: <code data-field="command">{{strip["command"]}}</code></span>
  </div>
</section>

<section class="card upload" aria-labelledby="upload-heading">
  <h1 id="upload-heading">Upload a list</h1>
  <form id="upload" action="/api/upload" method="post" enctype="multipart/form-data"
        data-max-megabytes="{{max_megabytes}}">
    <label class="drop" for="file">
      <span class="drop-title" id="chosen">Choose a CSV or Excel file, or drop it here</span>
      <span class="drop-hint">One email address a row, in any column; CSV, TSV, text or XLSX, up to {{max_megabytes}} MB</span>
      <input type="file" id="file" name="file" accept=".csv,.tsv,.txt,.xlsx,text/csv,text/plain,text/tab-separated-values,application/vnd.openxmlformats-officedocument.spreadsheetml.sheet">
    </label>
    <div class="actions">
      <button type="submit">Upload &amp; process</button>
      <button type="button" class="quiet" id="cancel-upload" hidden>Cancel</button>
      <progress id="upload-progress" max="1" value="0" aria-label="Upload" hidden></progress>
      <span id="upload-state" role="status"></span>
    </div>
    <p class="error" id="upload-error" role="alert" hidden></p>
    <noscript><p class="error">Uploading from this page needs JavaScript. README.md shows how to upload with curl.</p></noscript>
  </form>
</section>

<section class="card status" id="status" aria-labelledby="status-heading"\\
% if batch:
 data-batch="{{batch['id']}}" data-revision="{{batch['revision']}}" data-status="{{batch['status']}}"\\
% end
>
  <h2 id="status-heading">Processing Status</h2>
  <div data-when="none"\\
% if batch:
 hidden\\
% end
>
    <p class="empty">No batch yet. Upload a file, and its progress shows here.</p>
  </div>
  <div data-when="some"\\
% if not batch:
 hidden\\
% end
>
    <div class="status-line">
      <strong class="filename" data-field="filename">{{batch["filename"] if batch else ""}}</strong>
      <span class="badge" role="status" data-field="status" data-status="{{batch['status'] if batch else ''}}">{{batch["status"] if batch else ""}}</span>
      <span class="connection" data-field="connection"></span>
    </div>
    <progress class="bar" data-field="bar" data-status="{{batch['status'] if batch else ''}}" aria-label="Emails processed" max="{{batch['totalEmails'] if batch else 1}}" value="{{batch['processedCount'] if batch else 0}}"></progress>
    <div class="numbers">
      <span class="fraction"><b data-field="processed">{{count(batch["processedCount"]) if batch else ""}}</b> / <span data-field="total">{{count(batch["totalEmails"]) if batch else ""}}</span></span>
      <span class="percent" data-field="percent">{{f"{100 * batch['processedCount'] // batch['totalEmails']}%" if batch else ""}}</span>
      <span class="failed"><b data-field="failed">{{count(batch["failedCount"]) if batch else ""}}</b> failed</span>
    </div>
    <p class="accounting" data-field="accounting">\\
% if batch:
% rows = batch["rows"]
{{count(rows["total"])}} rows = {{count(rows["emails"])}} emails + {{count(rows["duplicates"])}} duplicates + {{count(rows["withoutAddress"])}} without an address + {{count(rows["blank"])}} blank\\
% end
</p>
  </div>
</section>

<section class="card batches" aria-labelledby="batches-heading">
  <div class="heading">
    <h2 id="batches-heading">Recent Batches</h2>
    <button type="button" class="quiet" id="refresh">Refresh</button>
  </div>
  <p class="empty" id="no-batches"\\
% if batches:
 hidden\\
% end
>Nothing has been uploaded so far.</p>
  <div class="scroll">
  <table id="batches" data-url="/api/batches"\\
% if not batches:
 hidden\\
% end
>
    <thead>
      <tr><th scope="col">File</th><th scope="col">Uploaded</th><th scope="col">Status</th><th scope="col" class="number">Processed</th><th scope="col" class="number">Failed</th></tr>
    </thead>
    <tbody>
      % for each in batches:
      <tr data-batch="{{each['id']}}">
        <td><a href="/?batch={{each['id']}}" data-field="filename">{{each["filename"]}}</a></td>
        <td><time data-field="created" datetime="{{each['createdAt']}}">{{each["createdAt"][:16].replace("T", " ")}} UTC</time></td>
        <td><span class="badge" data-field="status" data-status="{{each['status']}}">{{each["status"]}}</span></td>
        <td class="number"><span data-field="processed">{{count(each["processedCount"])}}</span> / <span data-field="total">{{count(each["totalEmails"])}}</span></td>
        <td class="number" data-field="failed">{{count(each["failedCount"])}}</td>
      </tr>
      % end
    </tbody>
  </table>
  </div>
  <template id="batch-row">
    <tr>
      <td><a data-field="filename"></a></td>
      <td><time data-field="created"></time></td>
      <td><span class="badge" data-field="status"></span></td>
      <td class="number"><span data-field="processed"></span> / <span data-field="total"></span></td>
      <td class="number" data-field="failed"></td>
    </tr>
  </template>
</section>
