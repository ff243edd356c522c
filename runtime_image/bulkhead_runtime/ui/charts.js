// The one kind of chart on this page.

import { drawn, h } from "./dom.js";
import { count } from "./format.js";

const WIDTH = 600;

/** Make a chart of named values as bars; `unit` is what they count. */
export function bars(points, unit) {
  const most = Math.max(1, ...points.map(([, value]) => value));
  const width = WIDTH / points.length;
  const drawing = drawn(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} 106`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${unit} from ${points[0][0]} to ${points.at(-1)[0]}, at most ${count(most)}`,
    },
    ...points.map((point, at) => bar(point, at * width, width, most, unit)),
  );
  const ends = [points[0][0], unit, points.at(-1)[0]].map((text) => h("span", {}, text));
  return h("figure", { class: "chart" }, drawing, h("figcaption", { class: "fine" }, ...ends));
}

function bar([name, value], x, width, most, unit) {
  const height = Math.max((100 * value) / most, 0.75); // an empty bar is still there to point at
  const shape = { x: x + width * 0.12, y: 104 - height, width: width * 0.76, height };
  const rounded = { ...shape, rx: Math.min(3, width / 5) };
  return drawn("rect", rounded, drawn("title", {}, `${name}: ${count(value)} ${unit}`));
}
