// Listens to /events and draws each event at its time of arrival.

const live = document.getElementById("live");
const strip = document.getElementById("strip");
const log = document.getElementById("log");
const again = document.getElementById("again");
const count = Number(live.dataset.count);
const expected = (1000 * count) / Number(live.dataset.perSecond); // milliseconds
const set = (id, text) => { document.getElementById(id).textContent = text; };

function dot(x) {
  const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  for (const [name, value] of Object.entries({ cx: `${x}%`, cy: 36, r: 6.5 })) circle.setAttribute(name, value);
  strip.append(circle);
}

function run() {
  strip.querySelectorAll("circle").forEach((circle) => circle.remove());
  log.textContent = "";
  again.hidden = true;
  set("received", 0);
  set("gap", "–");
  set("state", "connecting");
  live.dataset.state = "running";

  let first = 0;
  let received = 0;
  const source = new EventSource(live.dataset.url);
  const over = (state) => {
    source.close(); // or the browser would reconnect
    live.dataset.state = state;
    set("state", state);
    again.hidden = false;
  };
  source.addEventListener("open", () => set("state", "open"));
  source.addEventListener("message", (event) => {
    const now = performance.now();
    if (received === 0) first = now;
    received += 1;
    const { n, thread } = JSON.parse(event.data);
    const after = now - first;
    dot(1 + Math.min(after / expected, 1) * 98);
    set("received", received);
    if (received > 1) set("gap", `${Math.round(after / (received - 1))} ms`);
    log.append(`${(after / 1000).toFixed(2).padStart(5)} s   event ${String(n).padStart(2)}   thread ${thread}\n`);
    log.scrollTop = log.scrollHeight;
  });
  source.addEventListener("end", () => over("complete"));
  source.addEventListener("error", () => over("disconnected"));
}

again.addEventListener("click", run);
run();
