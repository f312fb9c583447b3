// What happens at this moment: requests as they come, by server-sent events.
import * as format from "./format";

const SHOWN_ROWS = 12;

interface Visit {
  time: number;
  method: string;
  path: string;
  status: number;
  duration_ms: number;
}

interface Moment {
  visitors: number | null;
  requests: number;
  seconds: number;
  rows: Visit[];
}

const clock = new Intl.DateTimeFormat(document.documentElement.lang || "en", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
  timeZone: format.timeZone,
});

function row(visit: Visit): HTMLElement {
  const line = document.createElement("tr");
  const time = document.createElement("th");
  time.scope = "row";
  time.textContent = clock.format(visit.time * 1000);
  const path = document.createElement("code");
  path.textContent = visit.method === "GET" ? visit.path : `${visit.method} ${visit.path}`;
  const cells = [path, String(visit.status || format.NOTHING), format.milliseconds(visit.duration_ms)];
  line.append(
    time,
    ...cells.map((content) => {
      const cell = document.createElement("td");
      cell.append(content);
      return cell;
    }),
  );
  return line;
}

/** Listens while the page is looked at; the browser connects again by itself. */
export function watchLive(section: HTMLElement | null): void {
  const url = section?.dataset["url"];
  if (!section || !url) return;
  const body = section.querySelector("tbody");
  const facts = new Map(
    [...section.querySelectorAll<HTMLElement>("[data-live]")].map((each) => [
      each.dataset["live"] ?? "",
      each,
    ]),
  );
  let source: EventSource | null = null;
  let seen = false;

  const show = (moment: Moment): void => {
    section.hidden = false;
    const visitors = facts.get("visitors");
    if (visitors) visitors.textContent = format.count(moment.visitors);
    const rate = facts.get("rate");
    if (rate) rate.textContent = format.count(moment.requests / Math.max(1, moment.seconds));
    if (!moment.rows.length || !body) return;
    if (!seen) body.replaceChildren();
    seen = true;
    body.prepend(...moment.rows.toReversed().map(row));
    while (body.childElementCount > SHOWN_ROWS) body.lastElementChild?.remove();
  };

  const follow = (): void => {
    if (document.visibilityState !== "visible") {
      source?.close();
      source = null;
    } else if (!source) {
      source = new EventSource(url);
      source.addEventListener("moment", (event) => show(JSON.parse(event.data as string) as Moment));
    }
  };
  document.addEventListener("visibilitychange", follow);
  follow();
}
