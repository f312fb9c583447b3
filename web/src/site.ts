// The site page: draws the charts and keeps every number fresh while the page is looked at.
import { Chart, type Drawing, type Gap, type Series, type Values } from "./chart";
import * as format from "./format";
import { replaceParts } from "./parts";
import { followProgress } from "./progress";
import { watchLive } from "./live";

// A row can be queried 5.1 to 5.3 seconds after its request (flush_seconds is 5), and is to be seen
// within six, drawn.
const DAY_REFRESH_MS = 500;
// Weeks and months change too slowly for anyone to see it.
const LONG_REFRESH_MS = 15_000;
// Response times and visitors cost the log store more; they are asked for when there was traffic,
// but no more often than this.
const REST_REFRESH_MS = 3000;
const FIRST_RETRY_MS = 2000;
const LONGEST_RETRY_MS = 30_000;
const TIMEOUT_MS = 10_000;
// Long enough to see the first request appear.
const FIRST_SEEN_MS = 3000;
// Lists and tiles are written by the server: they are asked for when there was traffic.
const LISTS_REFRESH_MS = 10_000;

type Point = Record<string, number | null>;
interface Figures {
  points: Point[];
  [key: string]: unknown;
}

const charts = document.querySelector<HTMLElement>("#charts");
const live = document.querySelector<HTMLElement>("#live");
const words = JSON.parse(charts?.dataset["words"] ?? "{}") as Record<string, string>;
const daily = charts?.dataset["daily"] === "true";
const word = (key: string): string => words[key] ?? key;

interface Kind extends Drawing {
  keys: string[];
  cells: ((point: Point) => string)[];
}

const cell = (key: string, write: (value: number | null | undefined) => string) => (point: Point) =>
  write(point[key]);

const STATUS_KEYS = ["success", "redirection", "client_error", "server_error"];
const LATENCY_KEYS = ["p50_ms", "p95_ms", "origin_mean_ms", "own_mean_ms", "p50_before_ms"];
const before: Series = { label: word("before"), color: "--muted", before: true };

const kinds: Record<string, Kind> = {
  traffic: {
    daily,
    write: format.exact,
    keys: ["requests", "requests_before"],
    whole: true,
    series: [{ label: word("requests"), color: "--chart-1", area: true }, before],
    cells: [
      cell("requests", format.exact),
      cell("requests_before", format.exact),
      cell("response_bytes", format.size),
    ],
  },
  latency: {
    daily,
    write: format.milliseconds,
    keys: LATENCY_KEYS,
    series: [
      { label: word("p50"), color: "--chart-1" },
      { label: word("p95"), color: "--chart-2" },
      { label: word("origin"), color: "--chart-3" },
      { label: word("own"), color: "--chart-good" },
      before,
    ],
    cells: LATENCY_KEYS.map((key) => cell(key, format.milliseconds)),
  },
  status: {
    daily,
    stacked: true,
    write: format.exact,
    keys: STATUS_KEYS,
    whole: true,
    series: [
      { label: word("success"), color: "--chart-good", bars: true },
      { label: word("redirection"), color: "--chart-info", bars: true },
      { label: word("client_error"), color: "--chart-warn", bars: true },
      { label: word("server_error"), color: "--chart-bad", bars: true },
    ],
    cells: STATUS_KEYS.map((key) => cell(key, format.exact)),
  },
  visitors: {
    daily,
    write: format.exact,
    keys: ["visitors", "visitors_before"],
    whole: true,
    series: [{ label: word("visitors"), color: "--chart-3", area: true }, before],
    cells: [cell("visitors", format.exact), cell("visitors_before", format.exact)],
  },
};

const writers: Record<string, (value: number | null | undefined) => string> = {
  requests: format.count,
  connections: format.count,
  total: format.count,
  response_bytes: format.size,
  success_rate: format.percent,
  requests_change: format.change,
  total_change: format.change,
};

class Card {
  readonly #kind: Kind;
  readonly #url: string;
  #chart: Chart | null = null;

  constructor(
    readonly section: HTMLElement,
    kind: Kind,
  ) {
    this.#kind = kind;
    this.#url = section.dataset["url"] ?? "";
    const container = section.querySelector<HTMLElement>(".chart");
    if (container) {
      container.replaceChildren(); // the drawing for who has no script
      this.#chart = new Chart(container, kind);
    }
  }

  async refresh(): Promise<Figures> {
    const answer = await fetch(this.#url, {
      headers: { accept: "application/json" },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (!answer.ok) throw new Error(`${answer.status}`);
    const figures = (await answer.json()) as Figures;
    this.#show(figures);
    return figures;
  }

  #show(figures: Figures): void {
    const points = figures.points;
    const columns: Values[] = this.#kind.keys.map((key, i) => {
      const values = points.map((point) => point[key] ?? null);
      if (!this.#kind.series[i]?.before) return values;
      // A line along the bottom would say that nobody came, when nobody could.
      const some = values.some((value) => value);
      this.section.querySelector("[data-before]")?.toggleAttribute("hidden", !some);
      return some ? values : values.map(() => null);
    });
    this.#chart?.show(
      points.map((point) => point["time"] ?? 0),
      columns,
      (Date.parse(String(figures["to"])) - Date.parse(String(figures["from"]))) / 1000,
      ["failovers", "lost"].flatMap((key) => (figures[key] as Gap[] | undefined) ?? []),
      this.#marks(),
    );
    for (const element of this.section.querySelectorAll<HTMLElement>("[data-fact]")) {
      element.textContent = fact(figures, element.dataset["fact"] ?? "");
    }
    const body = this.section.querySelector(".chart-data tbody");
    body?.replaceChildren(...points.toReversed().map((point) => this.#row(point)));
  }

  // The list of what happened is written by the server.
  #marks(): number[] {
    const list = this.section.querySelector<HTMLElement>("#happened");
    return JSON.parse(list?.dataset["marks"] ?? "[]") as number[];
  }

  #row(point: Point): HTMLElement {
    const row = document.createElement("tr");
    const time = document.createElement("th");
    time.scope = "row";
    time.textContent = format.time(point["time"] ?? 0, daily);
    const cells = this.#kind.cells.map((write) => {
      const data = document.createElement("td");
      data.textContent = write(point);
      return data;
    });
    row.append(time, ...cells);
    return row;
  }
}

// "success_rate", "total.p50_ms", or "sum.server_error": the sum over all points.
function fact(figures: Figures, key: string): string {
  const [first = "", second = ""] = key.split(".");
  if (first === "sum") {
    return format.count(figures.points.reduce((sum, point) => sum + (point[second] ?? 0), 0));
  }
  const holder = second ? (figures[first] as Point | undefined) : (figures as unknown as Point);
  const name = second || first;
  const write = name.endsWith("_ms") ? format.milliseconds : (writers[name] ?? format.count);
  return write(holder?.[name]);
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function visible(): Promise<void> {
  if (document.visibilityState === "visible") return Promise.resolve();
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", () => resolve(), { once: true });
  });
}

function tell(stale: boolean): void {
  if (!live) return;
  live.hidden = false;
  live.classList.toggle("stale", stale);
  const text = word(stale ? "stale" : "live");
  // Written only when it changes: screen readers say it aloud.
  if (live.textContent !== text) live.textContent = text;
}

// A page without requests has little to show. The first one is on its chart at once; the rest of
// the page comes when it has been seen. A token is shown once, so its page stays.
function showAll(figures: Figures): void {
  if (charts?.dataset["silent"] === undefined || document.querySelector("#token")) return;
  const { requests = 0, connections = 0 } = (figures["totals"] ?? {}) as Point;
  if (!requests && !connections) return;
  delete charts.dataset["silent"];
  setTimeout(() => location.reload(), FIRST_SEEN_MS);
}

async function keepFresh(traffic: Card, rest: Card[], range: string): Promise<never> {
  let seen = "";
  let drawn = "";
  let listed = "";
  let restAt = -Infinity;
  let listsAt = performance.now();
  let retry = FIRST_RETRY_MS;
  for (;;) {
    await visible();
    try {
      const figures = await traffic.refresh();
      showAll(figures);
      seen = JSON.stringify([figures["totals"], figures["from"]]);
      if (seen !== drawn && performance.now() - restAt >= REST_REFRESH_MS) {
        await Promise.all(rest.map((card) => card.refresh()));
        drawn = seen;
        restAt = performance.now();
      }
      if (seen !== listed && performance.now() - listsAt >= LISTS_REFRESH_MS) {
        listsAt = performance.now();
        await replaceParts(location.href, ["#tiles", "#lists", "#happened"]);
        listed = seen;
      }
      tell(figures["stale"] === true);
      retry = FIRST_RETRY_MS;
      await pause(range === "day" ? DAY_REFRESH_MS : LONG_REFRESH_MS);
    } catch {
      tell(true);
      await pause(retry);
      retry = Math.min(retry * 2, LONGEST_RETRY_MS);
    }
  }
}

if (charts) {
  const cards = new Map<string, Card>();
  for (const section of charts.querySelectorAll<HTMLElement>("[data-kind]")) {
    const name = section.dataset["kind"] ?? "";
    const kind = kinds[name];
    if (kind) cards.set(name, new Card(section, kind));
  }
  const traffic = cards.get("traffic");
  if (traffic) {
    const rest = [...cards].filter(([name]) => name !== "traffic").map(([, card]) => card);
    void keepFresh(traffic, rest, charts.dataset["range"] ?? "day");
  }
}

// A tab of a list is a link; here it changes the lists alone.
document.addEventListener("click", (event) => {
  const link = (event.target as HTMLElement).closest<HTMLAnchorElement>("#lists .tabs a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const address = link.href.split("#")[0] ?? link.href;
  replaceParts(address, ["#lists"]).then(
    () => history.replaceState(null, "", address),
    () => location.assign(link.href),
  );
});

void followProgress();
watchLive(document.querySelector<HTMLElement>("#visits"));
