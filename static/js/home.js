// Puts the parts of the home page together.

import { byId, setText } from "./lib/dom.js";
import { wireMenus } from "./lib/menus.js";
import { CONNECTION, listen } from "./live/live.js";
import { Batches } from "./parts/batches.js";
import { Health } from "./parts/health.js";
import { Upload } from "./parts/upload.js";

wireMenus();
const health = new Health(byId("health"));
const batches = new Batches(byId("recent"));
new Upload(byId("upload"), byId("dropzone"), () => batches.refresh().catch(() => {}));

// The message about a deleted batch is not shown again on a reload.
if (new URLSearchParams(location.search).has("deleted")) history.replaceState(null, "", "/");

listen(byId("health").dataset, {
  health: (report) => health.show(report),
  snapshot: (snapshot) => batches.take(snapshot),
  refresh: () => batches.refresh(),
  state(state) {
    setText(byId("recent"), "connection", CONNECTION[state]);
    health.connection(state);
  },
});
