// A site's way to its first visitor: shown anew when a step was taken.
import { get, replaceParts } from "./parts";

// A look takes a few seconds, and the registrar minutes: nobody waits for less.
const REFRESH_MS = 4000;
const LONGEST_RETRY_MS = 60_000;

interface Step {
  state: string;
  reason: { code: string } | null;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const fingerprint = (steps: Step[]): string =>
  steps.map((step) => (step.reason ? `${step.state}:${step.reason.code}` : step.state)).join(",");

export async function followProgress(): Promise<void> {
  let wait = REFRESH_MS;
  for (;;) {
    await pause(wait);
    const section = document.querySelector<HTMLElement>("#progress");
    const url = section?.dataset["url"];
    if (!section || !url) return;
    if (document.hidden) continue;
    try {
      const site = (await (await get(url, "application/json")).json()) as {
        progress: { steps: Step[] };
      };
      if (fingerprint(site.progress.steps) !== section.dataset["steps"]) await replaceParts(location.pathname, ["#progress", ".title-line .badge"]);
      wait = REFRESH_MS;
    } catch {
      wait = Math.min(wait * 2, LONGEST_RETRY_MS);
    }
  }
}
