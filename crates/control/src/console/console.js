// The console: a client of the public API that signs its calls in this tab.
//
// Every text from outside becomes a text node, never markup. A view asks again on a timer and draws only what has
// changed, so that focus and selection stay. A view that is left ends its loops by its abort signal.

const POLL_MS = 2000;
const RETRY_MS = 4000;
const LOG_WAIT_S = 20;
const LOG_LINES_MAX = 2000;
const OPERATIONS_SHOWN = 10;
const REVISIONS_SHOWN = 5;
const KEY = "apron-key";
const AGAIN_MS = 100;
const AGAIN_MS_MAX = 3200;
const PASSING = new Set(["ThrottlingException", "ServiceUnavailable"]);

const $ = (id) => document.getElementById(id);

/** An element with attributes (functions become listeners) and children; strings become text. */
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

// ---- The API -------------------------------------------------------------------------------------------------

class ApiError extends Error {
  constructor(code, message) {
    super(message ? `${code}: ${message}` : code);
    this.code = code;
  }
}

const bytes = (text) => new TextEncoder().encode(text);
const hex = (buffer) => Array.from(new Uint8Array(buffer), (b) => b.toString(16).padStart(2, "0")).join("");
const sha256 = async (text) => hex(await crypto.subtle.digest("SHA-256", bytes(text)));

async function hmac(key, text) {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return crypto.subtle.sign("HMAC", imported, bytes(text));
}

/** The headers of a call with its Signature Version 4. The browser adds Host, as it stands in the address. */
async function sign(key, service, target, body) {
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const headers = { "content-type": "application/x-amz-json-1.0", "x-amz-date": time, "x-amz-target": target };
  const signed = Object.entries({ ...headers, host: location.host }).sort(([a], [b]) => (a < b ? -1 : 1));
  const names = signed.map(([name]) => name).join(";");
  const lines = signed.map(([name, value]) => `${name}:${value}\n`).join("");
  const canonical = `POST\n/\n\n${lines}\n${names}\n${await sha256(body)}`;
  const scope = [time.slice(0, 8), key.region, service, "aws4_request"];
  let secret = bytes(`AWS4${key.secret}`);
  for (const part of scope) secret = await hmac(secret, part);
  const algorithm = "AWS4-HMAC-SHA256";
  const text = `${algorithm}\n${time}\n${scope.join("/")}\n${await sha256(canonical)}`;
  const signature = hex(await hmac(secret, text));
  const credential = `${key.id}/${scope.join("/")}`;
  headers.authorization = `${algorithm} Credential=${credential}, SignedHeaders=${names}, Signature=${signature}`;
  return headers;
}

/** As `send`, again while the platform is too busy: longer each time, and not together with others. */
async function call(target, input = {}, signal, key = session.key) {
  for (let pause = AGAIN_MS; ; pause *= 2) {
    try {
      return await send(target, input, signal, key);
    } catch (error) {
      if (!PASSING.has(error.code) || pause > AGAIN_MS_MAX) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random() / 2)));
    signal?.throwIfAborted();
  }
}

/** Calls an operation such as AppRunner.ListServices; throws ApiError with the API's own words. */
async function send(target, input, signal, key) {
  const body = JSON.stringify(input);
  const headers = await sign(key, target.split(".")[0].toLowerCase(), target, body);
  let response;
  try {
    response = await fetch("/", { method: "POST", headers, body, signal, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("The platform does not answer");
  }
  const answer = await response.json().catch(() => ({}));
  if (signal?.aborted) throw signal.reason;
  if (!response.ok) throw new ApiError(answer.__type ?? `HTTP ${response.status}`, answer.Message);
  return answer;
}

// ---- Words and figures ---------------------------------------------------------------------------------------

const GOOD = new Set(["RUNNING", "SUCCEEDED", "HEALTHY", "ACTIVE"]);
const BUSY = new Set(["OPERATION_IN_PROGRESS", "IN_PROGRESS", "PENDING", "ROLLBACK_IN_PROGRESS", "STARTING", "CREATING",
  "STOPPING", "CANDIDATE", "DRAINING"]);
const QUIET = new Set(["PAUSED", "DELETED", "PREVIOUS"]);

/** SOME_STATUS as a dot and the API's own word. */
function state(word, tag = "span") {
  const kind = GOOD.has(word) ? "good" : BUSY.has(word) ? "busy" : QUIET.has(word) ? "quiet" : "bad";
  return el(tag, { class: `state ${kind}` }, words(word));
}

const words = (word = "") => word.charAt(0) + word.slice(1).toLowerCase().replaceAll("_", " ");
const two = (number) => String(number).padStart(2, "0");
const clock = (date) => [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");

function time(seconds) {
  if (seconds == null) return "";
  const date = new Date(seconds * 1000);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const today = date.toDateString() === new Date().toDateString();
  return el("time", { datetime: date.toISOString(), title: date.toISOString() }, `${today ? "" : day + " "}${clock(date)}`);
}

function took(from, to) {
  if (from == null || to == null) return "";
  const s = to - from;
  return s < 60 ? `${s.toFixed(1)} s` : `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
}

/** A link out of the console; what is no http address stays text. */
function link(address) {
  const url = URL.canParse(address ?? "") ? new URL(address) : null;
  if (!url || !["http:", "https:"].includes(url.protocol)) return address ?? "";
  return el("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, url.host);
}

/** The URL for people, as DescribeStatus makes it: the service's host on the listener of AppsEndpoint. */
function address(serviceUrl) {
  const url = new URL(session.apps);
  url.hostname = serviceUrl.split(":")[0];
  return url.href;
}

function table(heads, rows) {
  const head = el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { scope: "col" }, text))));
  return el("div", { class: "table" }, el("table", {}, head, el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row)))));
}

/** Draws `build()` into a node when `data` is not what it was, and gives focus back to the control that had it. */
function draw(node, data, build) {
  const seen = JSON.stringify(data);
  if (node.dataset.seen === seen) return;
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  node.dataset.seen = seen;
  node.replaceChildren(...[build()].flat().filter((child) => child != null));
  if (focused) [...node.querySelectorAll("[data-focus]")].find((n) => n.dataset.focus === focused)?.focus();
}

// ---- Loops ---------------------------------------------------------------------------------------------------

/** Waits for an event or for as many milliseconds, and never longer than the view is there. */
function wait(signal, { ms, target, event }) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      target?.removeEventListener(event, done);
      resolve();
    };
    const timer = ms == null ? undefined : setTimeout(done, ms);
    signal.addEventListener("abort", done);
    target?.addEventListener(event, done);
    if (signal.aborted) done();
  });
}

/** Runs `turn` until the view is left. A failed turn is shown and tried again; it says how long to pause. */
async function repeat(signal, turn, failed) {
  while (!signal.aborted) {
    // A tab that nobody looks at asks nothing: browsers open six connections to one host, and tabs share them.
    if (document.hidden) await wait(signal, { target: document, event: "visibilitychange" });
    let pause = RETRY_MS;
    try {
      pause = await turn();
      if (!signal.aborted) failed(null);
    } catch (error) {
      if (signal.aborted) return;
      if (error.code === "UnrecognizedClientException") return forget(error.message);
      failed(error);
    }
    if (pause == null) return;
    await wait(signal, { ms: pause });
  }
}

const troubled = (error) => ($("connection").textContent = error?.message ?? "");

// ---- Views ---------------------------------------------------------------------------------------------------

function listView(view, signal) {
  const box = el("div", {}, el("p", { class: "soft" }, "…"));
  view.replaceChildren(el("h1", {}, "Services"), box);
  return repeat(signal, async () => {
    const services = [];
    let NextToken;
    do {
      const page = await call("AppRunner.ListServices", NextToken ? { NextToken } : {}, signal);
      services.push(...(page.ServiceSummaryList ?? []));
      NextToken = page.NextToken;
    } while (NextToken && services.length < 1000);
    draw(box, services, () => (services.length ? listTable(services) : el("div", { class: "card soft" },
      "There are no services here yet. ", el("code", {}, "apron deploy DIR"), " makes one.")));
    return POLL_MS;
  }, troubled);
}

function listTable(services) {
  return table(["Name", "Status", "Address", "Updated"], services.map((service) => {
    const href = `#/service/${encodeURIComponent(service.ServiceArn)}`;
    return [
      el("td", {}, el("a", { href, "data-focus": service.ServiceArn }, service.ServiceName)),
      el("td", { class: "state-cell" }, state(service.Status)),
      el("td", { class: "wide" }, service.ServiceUrl ? link(address(service.ServiceUrl)) : "private"),
      el("td", { class: "when soft wide" }, time(service.UpdatedAt)),
    ];
  }));
}

function serviceView(view, signal, ServiceArn) {
  view.replaceChildren($("service").content.cloneNode(true));
  const name = ServiceArn.split("/")[1] ?? ServiceArn;
  document.title = `${name} · Apron`;
  const log = logView(signal, ServiceArn);
  return repeat(signal, async () => {
    const [status, list] = await Promise.all([
      call("Apron.DescribeStatus", { ServiceArn }, signal),
      call("AppRunner.ListOperations", { ServiceArn, MaxResults: OPERATIONS_SHOWN }, signal),
    ]);
    if (signal.aborted) return null;
    const operations = list.OperationSummaryList ?? [];
    draw($("summary"), [status.Status, status.Reason, status.Url, status.Operation],
      () => summary(name, ServiceArn, status));
    draw($("revisions"), status.Revisions, () => revisions(status.Revisions));
    draw($("operations"), operations, () => operationTable(operations, log));
    log.offer(operations[0]);
    return status.Operation ? POLL_MS / 2 : POLL_MS;
  }, troubled);
}

function summary(name, ServiceArn, { Status, Reason, Url, Operation }) {
  const button = (label, target, from, text) => el("button", {
    "data-focus": label,
    disabled: Status !== from,
    title: Status === from ? null : `Needs the status ${words(from)}`,
    click: () => ask(`${label} ${name}?`, text, label, () => call(target, { ServiceArn })),
  }, label);
  return [
    el("div", { class: "row" }, el("h1", {}, name), state(Status), el("span", { class: "row push" },
      button("Deploy", "AppRunner.StartDeployment", "RUNNING",
        "Fetches the source or image anew and builds it. What runs now serves until the new revision is healthy."),
      button("Pause", "AppRunner.PauseService", "RUNNING",
        "Ends all instances. Requests are refused until the service is resumed."),
      button("Resume", "AppRunner.ResumeService", "PAUSED", "Starts the instances again."))),
    el("p", { class: "row" }, Url ? link(Url) : el("span", { class: "soft" }, "not public")),
    Operation && el("p", { class: "card" }, `${words(Operation.Type)}: ${Operation.Step}`,
      Operation.Reason ? el("span", { class: "error" }, ` ${Operation.Reason}`) : null),
    Reason && el("p", { class: "card error" }, `The last operation failed: ${Reason}`),
  ];
}

function revisions(all) {
  const newest = [...all].sort((a, b) => b.Number - a.Number);
  const kept = newest.filter((revision, at) => at < REVISIONS_SHOWN || revision.Instances.length);
  const more = newest.length - kept.length;
  return [
    ...kept.map((revision) => el("div", { class: "card" },
      el("div", { class: "row" }, el("strong", {}, `Revision ${revision.Number}`), state(revision.State),
        revision.Commit && el("span", { class: "mono soft", title: revision.Commit }, `commit ${revision.Commit.slice(0, 12)}`),
        revision.Image && el("span", { class: "mono soft", title: revision.Image }, revision.Image.slice(0, 19))),
      ...revision.Instances.map(instance))),
    more > 0 ? el("p", { class: "soft" }, `and ${more} earlier`) : null,
    newest.length ? null : el("div", { class: "card soft" }, "None yet."),
  ];
}

const STEPS = [["NamespaceMs", "namespaces"], ["MountMs", "mounts"], ["ExecMs", "process"], ["ListeningMs", "listening"],
  ["HealthyMs", "healthy"]];

function instance({ InstanceId, Phase, Health, Reason, Address, Restarts, Waterfall }) {
  const bar = el("div", { class: "waterfall", "aria-hidden": "true" });
  const legend = el("ul", { class: "legend" });
  let before = 0;
  STEPS.forEach(([member, label], at) => {
    const ms = Waterfall?.[member];
    if (ms == null) return;
    const part = el("i", { class: `step-${at + 1}`, title: `${label}: ${ms - before} ms` });
    part.style.flexGrow = Math.max(ms - before, 0);
    bar.append(part);
    legend.append(el("li", {}, el("i", { class: `step-${at + 1}` }), `${label} ${ms} ms`));
    before = ms;
  });
  return el("div", { class: "instance" },
    el("div", { class: "row" }, el("span", { class: "mono", title: InstanceId }, InstanceId.slice(0, 8)),
      state(Phase === "RUNNING" ? Health : Phase), Address && el("span", { class: "mono soft" }, Address),
      Restarts ? el("span", { class: "soft" }, `started anew ${Restarts} ×`) : null),
    Reason && el("p", { class: "error" }, Reason),
    before ? bar : null, before ? legend : null);
}

function operationTable(operations, log) {
  return table(["Operation", "Result", "Started", "Took", ""], operations.map((operation) => [
    el("td", {}, words(operation.Type)),
    el("td", {}, state(operation.Status)),
    el("td", { class: "when soft" }, time(operation.StartedAt)),
    el("td", { class: "when soft" }, took(operation.StartedAt, operation.EndedAt)),
    el("td", { class: "wide" }, el("button", { class: "link", "data-focus": operation.Id,
      "aria-label": `Log of ${words(operation.Type)}`, click: () => log.deployment(operation.Id) }, "log")),
  ]));
}

// ---- Logs ----------------------------------------------------------------------------------------------------

/** One log at a time, from its beginning on and then as it grows. */
function logView(signal, ServiceArn) {
  const [box, note] = [$("log"), $("log-note")];
  let newest;
  let current = new AbortController();
  signal.addEventListener("abort", () => current.abort());

  const buttons = ["APPLICATION", "DEPLOYMENT", "EVENTS"].map((stream) => {
    const button = el("button", { click: () => (stream === "DEPLOYMENT" ? deployment(newest) : follow(stream)) }, words(stream));
    button.dataset.stream = stream;
    return button;
  });
  $("streams").replaceChildren(...buttons);

  function deployment(id) {
    if (!id) return;
    follow("DEPLOYMENT", id);
    $("streams").scrollIntoView({ block: "nearest" });
  }

  function follow(Stream, OperationId) {
    current.abort();
    current = new AbortController();
    const mine = current.signal;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.stream === Stream));
    box.replaceChildren();
    note.textContent = "";
    let From;
    repeat(mine, async () => {
      const WaitSeconds = From ? LOG_WAIT_S : 0;
      const page = await call("Apron.GetLogs", { ServiceArn, Stream, OperationId, From, WaitSeconds }, mine);
      append(box, page.Lines);
      From = page.Next;
      note.textContent = page.End ? `${words(Stream)} log, complete.`
        : box.childElementCount ? `${words(Stream)} log, following.` : "Nothing yet; new lines appear by themselves.";
      // A platform that is ending answers at once; without a pause that would be a storm.
      return page.End ? null : page.Lines.length ? 0 : 500;
    }, (error) => error && (note.textContent = error.message));
  }

  /** The newest operation; when it has not succeeded, its log is what one comes for. */
  function offer(operation) {
    const first = newest === undefined;
    newest = operation?.Id ?? null;
    if (!first) return;
    if (newest && operation.Status !== "SUCCEEDED") follow("DEPLOYMENT", newest);
    else follow("APPLICATION");
  }

  return { deployment, offer };
}

function append(box, lines) {
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
  box.append(...lines.map((line) => {
    const date = new Date(line.Timestamp * 1000);
    const source = /^[0-9a-f]{32}$/.test(line.Source) ? line.Source.slice(0, 8) : line.Source;
    // Lines of a deployment say their source themselves.
    const label = line.Text.startsWith(`[${line.Source}]`) ? null : el("b", { title: line.Source }, source);
    return el("div", {}, el("time", { datetime: date.toISOString() }, clock(date)), label, line.Text);
  }));
  while (box.childElementCount > LOG_LINES_MAX) box.firstElementChild.remove();
  if (atEnd) box.scrollTop = box.scrollHeight;
}

// ---- Asking first --------------------------------------------------------------------------------------------

/** Asks, acts, and stays open with the API's words when the call is refused. */
function ask(title, text, label, act) {
  const [dialog, yes, error] = [$("ask"), $("ask-yes"), $("ask-error")];
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  yes.textContent = label;
  yes.disabled = false;
  error.hidden = true;
  dialog.querySelector("form").onsubmit = async (event) => {
    if (event.submitter !== yes) return;
    event.preventDefault();
    yes.disabled = true;
    try {
      await act();
      dialog.close();
    } catch (problem) {
      error.textContent = problem.message;
      error.hidden = false;
      yes.disabled = false;
    }
  };
  dialog.showModal();
}

// ---- The session ---------------------------------------------------------------------------------------------

const session = { key: null, apps: "", place: "" };
let leave = new AbortController();

/** The platform as it describes itself to this key; its region is taken when none was named. */
async function open({ id, secret, region }) {
  const key = { id, secret, region: region || "us-east-1" };
  const platform = await call("Apron.DescribePlatform", {}, undefined, key);
  key.region = region || platform.Region;
  session.key = key;
  session.apps = platform.AppsEndpoint;
  session.place = `${key.region} · ${platform.Version}`;
  sessionStorage.setItem(KEY, JSON.stringify(key));
}

function forget(message) {
  sessionStorage.removeItem(KEY);
  session.key = null;
  route(message);
}

function signInView(view, message) {
  view.replaceChildren($("sign-in").content.cloneNode(true));
  const form = view.querySelector("form");
  const error = form.querySelector(".error");
  const say = (text) => ((error.textContent = text ?? ""), (error.hidden = !text));
  say(message);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    const field = (name) => form.elements.namedItem(name).value.trim();
    try {
      await open({ id: field("id"), secret: field("secret"), region: field("region") });
      route();
    } catch (problem) {
      say(problem.message);
      button.disabled = false;
    }
  });
  form.elements.namedItem("id").focus();
}

/** Why this page cannot sign: browsers keep WebCrypto from origins that others on the way could change. */
function cannotSign(view) {
  const port = location.port || "80";
  view.replaceChildren(el("div", { class: "card" }, el("h1", {}, "This address cannot be used for the console"),
    el("p", {}, "The console signs its calls in the browser, and browsers allow that only on https and on this machine's "
      + "own address. Open it on the machine itself, or through a tunnel:"),
    el("p", {}, el("code", {}, `ssh -L ${port}:127.0.0.1:${port} ${location.hostname}`)),
    el("p", {}, "and then ", el("code", {}, `http://127.0.0.1:${port}/`))));
}

function route(message) {
  leave.abort();
  leave = new AbortController();
  const view = $("view");
  document.title = "Apron";
  $("ask").close();
  $("sign-out").hidden = !session.key;
  $("place").textContent = session.key ? session.place : "";
  troubled(null);
  if (!window.isSecureContext || !crypto.subtle) return cannotSign(view);
  if (!session.key) return signInView(view, message);
  const [, kind, name] = location.hash.split("/");
  let arn = null;
  try {
    arn = kind === "service" && name ? decodeURIComponent(name) : null;
  } catch {
    // An address that was typed wrong leads to the list.
  }
  return arn ? serviceView(view, leave.signal, arn) : listView(view, leave.signal);
}

$("sign-out").addEventListener("click", () => forget());
window.addEventListener("hashchange", () => route());

let problem;
try {
  const kept = JSON.parse(sessionStorage.getItem(KEY));
  if (kept && window.isSecureContext) await open(kept);
} catch (error) {
  problem = error.message;
}
route(problem);
