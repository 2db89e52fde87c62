// Puts the parts of the home page together.

import { Batches } from "./batches.js";
import { Health } from "./health.js";
import { CONNECTION, listen } from "./live.js";
import { wireUpload } from "./upload.js";

const byId = (id) => document.getElementById(id);
const health = new Health(byId("health"));
const batches = new Batches(byId("recent"));

// A message is for once, not for each reload.
if (new URLSearchParams(location.search).has("deleted")) history.replaceState(null, "", "/");

wireUpload(byId("upload"), byId("dropzone"));
listen(byId("health").dataset, {
  health: (report) => health.show(report),
  snapshot: (snapshot) => batches.take(snapshot),
  refresh: () => batches.refresh(),
  state(state) {
    batches.connection(CONNECTION[state]);
    health.connection(state);
  },
});
