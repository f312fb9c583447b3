// One chart: a uPlot that follows its container's size, the colour scheme and fresh data, with a
// tooltip. Screen readers get the table beside it instead.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { count, tick, time, timeZone } from "./format";

export type Values = (number | null)[];

export interface Series {
  label: string;
  // The name of a custom property of style.css.
  color: string;
  area?: boolean;
  bars?: boolean;
  // Of the period before.
  before?: boolean;
}

/** A time in which nothing was observed, in POSIX seconds; without an end while it lasts. */
export interface Gap {
  began: number;
  ended: number | null;
}

export interface Drawing {
  series: Series[];
  // Each series is drawn on top of the ones before it.
  stacked?: boolean;
  // Counts: no label between two whole numbers.
  whole?: boolean;
  write: (value: number | null | undefined) => string;
  daily: boolean;
}

const HEIGHT = 250;
const AXIS_FONT = '12px system-ui, "Noto Sans KR", sans-serif';

const css = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Chart {
  readonly #plot: uPlot;
  #shown: Values[] = [];
  #shift = 0;
  #gaps: Gap[] = [];
  #marks: number[] = [];

  constructor(
    readonly container: HTMLElement,
    readonly drawing: Drawing,
  ) {
    const columns = [[], ...drawing.series.map(() => [])] as uPlot.AlignedData;
    this.#plot = new uPlot(this.#options(), columns, container);
    new ResizeObserver(() => {
      this.#plot.setSize({ width: this.container.clientWidth, height: HEIGHT });
    }).observe(container);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#plot.redraw(false, true);
    });
  }

  /** `shift`: by how many seconds the period before is earlier. */
  show(times: number[], series: Values[], shift: number, gaps: Gap[] = [], marks: number[] = []): void {
    this.#shown = series;
    this.#shift = shift;
    this.#gaps = gaps;
    this.#marks = marks;
    const drawn = this.drawing.stacked ? stack(series) : series;
    this.#plot.setData([times, ...drawn] as uPlot.AlignedData);
  }

  #options(): uPlot.Options {
    const { series, stacked, whole, daily, write } = this.drawing;
    const bars = series.some((each) => each.bars);
    const axis = {
      stroke: () => css("--muted"),
      grid: { stroke: () => css("--grid"), width: 1 },
      ticks: { show: false },
      font: AXIS_FONT,
    };
    return {
      width: this.container.clientWidth,
      height: HEIGHT,
      padding: [10, 12, 0, 0],
      tzDate: (posixSeconds) => uPlot.tzDate(new Date(posixSeconds * 1000), timeZone),
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      // The server writes the legend.
      legend: { show: false },
      scales: {
        // Half a bucket of room on each side, or the outer bars would be cut in two.
        x: { range: (plot, low, high) => (bars ? widened(plot, low, high) : [low, high]) },
        y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.08 : 1] },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          space: 64,
          size: 28,
          values: (_plot, splits, _axis, _space, step) =>
            splits.map((split) => tick(split, daily, step)),
        },
        {
          ...axis,
          size: (_plot, values) => 18 + 7 * Math.max(3, ...(values ?? []).map((v) => v.length)),
          splits: (_plot, _axis, low, high) => roundSteps(low, high, whole ?? false),
          values: (_plot, splits) => splits.map((split) => (whole ? count(split) : write(split))),
        },
      ],
      series: [{}, ...series.map((each) => seriesOptions(each))],
      // In a stack each area is filled down to the one below it, so the upper ones are drawn first.
      ...(stacked ? { bands: series.slice(1).map((_, i) => ({ series: [i + 2, i + 1] as [number, number] })) } : {}),
      plugins: [this.#tooltip()],
      hooks: { drawClear: [(plot) => this.#shade(plot)] },
    };
  }

  // Behind everything else: the times that were not observed, and when something happened.
  #shade(plot: uPlot): void {
    const { left, top, width, height } = plot.bbox;
    plot.ctx.save();
    plot.ctx.fillStyle = css("--gap");
    for (const { began, ended } of this.#gaps) {
      const from = Math.max(left, plot.valToPos(began, "x", true));
      const to = ended === null ? left + width : Math.min(left + width, plot.valToPos(ended, "x", true));
      // A short one must be seen as well.
      if (to >= left && from <= left + width) plot.ctx.fillRect(from, top, Math.max(2, to - from), height);
    }
    plot.ctx.fillStyle = css("--mark");
    for (const moment of this.#marks) {
      const at = plot.valToPos(moment, "x", true);
      if (at >= left && at <= left + width) plot.ctx.fillRect(at - 1, top, 2, height);
    }
    plot.ctx.restore();
  }

  #tooltip(): uPlot.Plugin {
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    return {
      hooks: {
        init: (plot) => plot.over.append(tip),
        setCursor: (plot) => {
          const index = plot.cursor.idx;
          const at = index === null || index === undefined ? undefined : plot.data[0][index];
          tip.hidden = at === undefined || (plot.cursor.left ?? -1) < 0;
          if (tip.hidden || at === undefined) return;
          const heading = document.createElement("time");
          heading.textContent = time(at, this.drawing.daily);
          const lines = this.drawing.series.flatMap((series, i) => {
            const value = this.#shown[i]?.[index ?? 0];
            if (!series.before) return line(series.label, this.drawing.write(value));
            if (value === null || value === undefined) return [];
            const then = time(at - this.#shift, this.drawing.daily);
            return line(`${series.label} (${then})`, this.drawing.write(value));
          });
          tip.replaceChildren(heading, ...lines);
          const left = plot.valToPos(at, "x");
          const right = left + tip.offsetWidth + 16 > plot.over.clientWidth;
          tip.style.transform = `translate(${right ? Math.max(0, left - tip.offsetWidth - 12) : left + 12}px, 4px)`;
        },
      },
    };
  }
}

function line(label: string, value: string): HTMLElement {
  const row = document.createElement("div");
  const name = document.createElement("span");
  const number = document.createElement("b");
  name.textContent = label;
  number.textContent = value;
  row.append(name, number);
  return row;
}

function seriesOptions(series: Series): uPlot.Series {
  const stroke = () => css(series.color);
  const options: uPlot.Series = {
    label: series.label,
    stroke,
    width: 2,
    spanGaps: false,
    // A line needs two values side by side; one that stands alone is a point, or it would not be seen.
    points: { show: !series.bars, size: 7, fill: stroke, filter: lonely },
  };
  if (series.before) {
    options.dash = [6, 4];
    options.width = 1.5;
  }
  if (series.area) options.fill = () => `color-mix(in srgb, ${css(series.color)} 16%, transparent)`;
  if (series.bars && uPlot.paths.bars) {
    options.fill = stroke;
    options.width = 0;
    options.paths = uPlot.paths.bars({ size: [0.72, 48], radius: 0.18 });
  }
  return options;
}

function widened(plot: uPlot, low: number, high: number): [number, number] {
  const half = (high - low) / Math.max(1, plot.data[0].length - 1) / 2;
  return [low - half, high + half];
}

function stack(series: Values[]): Values[] {
  const below: number[] = [];
  return series.map((values) =>
    values.map((value, i) => (below[i] = (below[i] ?? 0) + (value ?? 0))),
  );
}

// Six labels at most, at round numbers.
function roundSteps(low: number, high: number, whole: boolean): number[] {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max([1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough) ?? rough, 0);
  const width = whole ? Math.max(1, step) : step;
  const splits = [];
  for (let value = 0; value <= high; value += width) splits.push(value);
  return splits;
}

/** The values of a series whose neighbours are both missing. */
function lonely(plot: uPlot, seriesIndex: number): number[] {
  const values = plot.data[seriesIndex] ?? [];
  const missing = (index: number) => values[index] === null || values[index] === undefined;
  return Array.from(values.keys()).filter(
    (index) => !missing(index) && missing(index - 1) && missing(index + 1),
  );
}
