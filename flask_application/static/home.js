// Completes the start page with facts from after it was rendered: the later blocks, whether close()
// was called, and the fields that the server has added.

const exchange = document.getElementById("exchange");
const url = `/last.json?id=${exchange.dataset.record}`;
const number = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, "\u2009");
const set = (id, text) => { document.getElementById(id).textContent = text; };

// The server calls close() after it has sent the last block, so this request may come too early. And
// with several workers another process may serve it, which has no record of this page's request.
async function finished(tries = 10) {
  for (let i = 0; i < tries; i++) {
    const response = await fetch(url, { cache: "no-store" });
    const { record } = await response.json();
    if (record && record.state !== "running") return { record, response };
    await new Promise((resolve) => setTimeout(resolve, 50 * (i + 1)));
  }
  return null;
}

function bars(record) {
  const svg = document.getElementById("bars");
  svg.replaceChildren();
  let x = 0;
  for (const size of record.block_sizes) {
    const width = (size * 1000) / record.byte_count;
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    title.textContent = `${number(size)} bytes`;
    bar.append(title);
    for (const [name, value] of Object.entries({ x, y: 0, width: Math.max(width - 4, 1), height: 28 })) {
      bar.setAttribute(name, value);
    }
    svg.append(bar);
    x += width;
  }
}

function chunks(record) {
  const target = document.getElementById("chunks");
  const chunked = "chunked" in target.dataset;
  const piece = (tag, text, name = "") => {
    const element = document.createElement(tag);
    element.className = name;
    element.textContent = text;
    return element;
  };
  target.replaceChildren();
  for (const size of record.block_sizes) {
    if (chunked) target.append(piece("span", `${size.toString(16)}\\r\\n`, "set-by-server"), "\n");
    target.append(piece("i", `… ${number(size)} bytes of page …`));
    if (chunked) target.append(piece("span", "\\r\\n", "set-by-server"));
    target.append("\n");
  }
  if (chunked) target.append(piece("span", "0\\r\\n\\r\\n", "set-by-server"));
}

// The fields that the server adds to a response. A script cannot read the head of its own page, but
// it can read that of a further request.
function serverFields(record, response) {
  const said = new Set(record.headers.map(([name]) => name.toLowerCase()));
  const framing = ["content-length", "transfer-encoding", "connection", "keep-alive"];
  const lines = [];
  for (const [name, value] of response.headers) {
    if (said.has(name) || framing.includes(name)) continue;
    lines.push(`${name.replace(/(^|-)[a-z]/g, (c) => c.toUpperCase())}: ${value}`);
  }
  // Scripts get them in alphabetical order; the server sends Server before Date.
  lines.sort((a, b) => b.startsWith("Server:") - a.startsWith("Server:"));
  if (!lines.length) return;
  const end = () => Object.assign(document.createElement("i"), { textContent: "\\r\\n" });
  const target = document.getElementById("server-fields");
  target.replaceChildren();
  lines.forEach((line, i) => target.append(i ? "\n" : "", line, end()));
}

function timing() {
  const [page] = performance.getEntriesByType("navigation");
  if (!page || !page.responseEnd) return;
  const ms = (x) => `${x.toFixed(1)} ms`;
  set("timing", `Your browser received the first byte ${ms(page.responseStart - page.requestStart)} after it sent the request, `
    + `and the last one ${ms(page.responseEnd - page.responseStart)} later. Then the connection waits for the `
    + "next request, and the thread is free. (Date and Server are those of this script’s own request.)");
}

const result = await finished();
timing();
if (result) {
  const { record, response } = result;
  set("captured-status", record.status);
  set("block-count", record.block_count);
  set("byte-count", number(record.byte_count));
  set("closed", record.closed ? "yes" : "no");
  set("seconds", `${(record.seconds * 1000).toFixed(1)} ms`);
  set("blocks-state", "All of it: fetched from /last.json after the page was complete.");
  bars(record);
  chunks(record);
  serverFields(record, response);
  exchange.dataset.state = record.state;
} else {
  set("blocks-state", "The rest is not known here: another worker process served this page.");
  exchange.dataset.state = "unknown";
}
