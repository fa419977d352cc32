// Requests to the gateway that has served this page. A key is kept in this module's memory alone: it
// is gone when the page is closed or loaded again.

let key = "";
let askForKey = async () => false;

/** Call `ask` when the gateway wants a key; it resolves to whether there is a new one. */
export function onKeyWanted(ask) {
  askForKey = ask;
}

export function setKey(text) {
  key = text;
}

export function hasKey() {
  return key !== "";
}

/** A failed request: `status` 0 if there was no answer; `problem` as in RFC 9457. */
export class Failure extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `The gateway answered ${status}.`);
    this.status = status;
    this.problem = problem;
  }
}

async function send(method, path, body, signal) {
  const headers = {};
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      credentials: "omit",
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, { detail: "The gateway does not answer." });
  }
}

/** The response; asks for a key if the gateway wants one, and tries again. */
async function request(method, path, body, signal) {
  for (;;) {
    const response = await send(method, path, body, signal);
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    if (response.status !== 401) throw new Failure(response.status, problem);
    const isNew = await askForKey(hasKey() ? problem.detail : "");
    if (!isNew) throw new Failure(401, problem);
  }
}

/** The JSON of an answer; null if it has none. */
export async function call(method, path, body, signal) {
  const response = await request(method, path, body, signal);
  return response.status === 204 ? null : response.json();
}

/** Follow the events of the cluster until `signal` aborts; `take` gets name and data of each. */
export async function follow(take, onState, signal) {
  let pauseMs = 1000;
  while (!signal.aborted) {
    try {
      const response = await request("GET", "v1/events", undefined, signal);
      pauseMs = 1000;
      onState("live");
      await readEvents(response.body, take);
      onState("again", "");
    } catch (error) {
      if (signal.aborted) return;
      onState("again", error.message, error.status);
      if (error.status === 401 || error.status === 403) return;
    }
    await pause(pauseMs, signal);
    pauseMs = Math.min(2 * pauseMs, 10000);
  }
}

async function readEvents(body, take) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (text + value).split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const name = /^event: (.*)$/m.exec(part);
      const data = /^data: (.*)$/m.exec(part);
      if (name && data) take(name[1], JSON.parse(data[1]));
    }
  }
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
