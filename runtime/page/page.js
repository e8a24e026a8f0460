"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const charts = read("chart-data");
  const csv = read("csv-data");
  const root = document.documentElement;

  function download(name, type, parts) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(parts, { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // Light and dark: as the system has it until the button is pressed.
  const theme = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const showTheme = () => theme.setAttribute("aria-pressed", String(isDark()));
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    showTheme();
  });
  system.addEventListener("change", showTheme);
  showTheme();

  // Tables: a heading sorts by the numbers behind its cells, or by their text.
  function sort(button) {
    const heading = button.closest("th");
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    const body = heading.closest("table").tBodies[0];
    const key = (row) => {
      const cell = row.cells[heading.cellIndex];
      return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
    };
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1; // what is not known comes last
      const order = typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true });
      return ascending ? order : -order;
    };
    body.append(...[...body.rows].sort(compare));
    for (const other of heading.parentElement.cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  }
  for (const button of document.querySelectorAll("button.sort")) button.addEventListener("click", () => sort(button));

  // Charts: the point next to the pointer, or the one that the arrow keys reached, is read out.
  function attach(chart) {
    const figure = document.getElementById(chart.id);
    const plot = figure.querySelector(".plot");
    const cursor = plot.querySelector(".cursor");
    const readout = figure.querySelector(".readout");
    let at = null;

    function shown() {
      const drawing = [...plot.querySelectorAll(".drawing")].find((each) => each.getBoundingClientRect().width > 0);
      const name = drawing.classList.contains("wide") ? "wide" : "narrow";
      const svg = drawing.querySelector("svg");
      const box = svg.getBoundingClientRect();
      const from = plot.getBoundingClientRect();
      const scale = box.width / svg.viewBox.baseVal.width;
      return { svg, places: chart.places[name], scale, left: box.left - from.left, top: box.top - from.top, box };
    }
    function show(series, point) {
      const { places, scale, left, top } = shown();
      at = [series, point];
      const [x, y] = places[series][point];
      cursor.style.left = `${left + x * scale}px`;
      cursor.style.top = `${top + y * scale}px`;
      cursor.hidden = false;
      const text = chart.series[series].texts[point];
      if (readout.textContent !== text) readout.textContent = text;
    }
    function hide() {
      cursor.hidden = true;
      at = null;
    }
    function nearest(x, y, only) {
      const { places, scale } = shown();
      let best = null;
      places.forEach((points, series) => {
        if (only !== undefined && series !== only) return;
        points.forEach(([px, py], point) => {
          const distance = Math.hypot(px * scale - x, py * scale - y);
          if (best === null || distance < best.distance) best = { series, point, distance };
        });
      });
      return best;
    }
    plot.addEventListener("pointermove", (event) => {
      const { box } = shown();
      const found = nearest(event.clientX - box.left, event.clientY - box.top);
      if (found && found.distance < 40) show(found.series, found.point);
      else if (document.activeElement !== plot) hide();
    });
    plot.addEventListener("pointerleave", () => {
      if (document.activeElement !== plot) hide();
    });
    plot.addEventListener("focus", () => {
      if (at === null && plot.matches(":focus-visible")) show(0, 0);
    });
    plot.addEventListener("blur", hide);
    plot.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      let [series, point] = at || [0, 0];
      const last = chart.series[series].texts.length - 1;
      const count = chart.series.length;
      if (event.key === "ArrowRight") point = Math.min(point + 1, last);
      else if (event.key === "ArrowLeft") point = Math.max(point - 1, 0);
      else if (event.key === "Home") point = 0;
      else if (event.key === "End") point = last;
      else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
        // To the point of the other line that lies nearest.
        const { places, scale } = shown();
        const [x, y] = places[series][point];
        series = (series + (event.key === "ArrowDown" ? 1 : count - 1)) % count;
        point = nearest(x * scale, y * scale, series).point;
      } else if (event.key === "Escape") return hide();
      else return;
      event.preventDefault();
      show(series, point);
    });
    addEventListener("resize", () => at && show(...at));

    // A file of its own has no style sheet: variables become the colours that are seen now.
    function standalone() {
      const { svg } = shown();
      const copy = svg.cloneNode(true);
      const { width, height } = svg.viewBox.baseVal;
      copy.setAttribute("width", `${width}pt`);
      copy.setAttribute("height", `${height}pt`);
      const style = getComputedStyle(root);
      const text = new XMLSerializer().serializeToString(copy);
      return { text: text.replace(/var\((--[a-z0-9-]+)\)/g, (_, name) => style.getPropertyValue(name).trim()), width, height };
    }
    function save(kind) {
      const { text, width, height } = standalone();
      if (kind === "svg") return download(`${chart.id}.svg`, "image/svg+xml", [text]);
      const url = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
      const picture = new Image();
      picture.onload = () => {
        const canvas = document.createElement("canvas");
        const scale = 3;
        canvas.width = Math.round(width * scale);
        canvas.height = Math.round(height * scale);
        canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
        URL.revokeObjectURL(url);
        canvas.toBlob((blob) => download(`${chart.id}.png`, "image/png", [blob]));
      };
      picture.src = url;
    }
    for (const button of figure.querySelectorAll("[data-save]")) {
      button.addEventListener("click", () => save(button.dataset.save));
    }
  }
  charts.forEach(attach);

  for (const button of document.querySelectorAll("[data-csv]")) {
    const id = button.dataset.csv;
    button.addEventListener("click", () => download(`${id}.csv`, "text/csv", [csv[id]]));
  }
  document.getElementById("save-json").addEventListener("click", () => {
    download("result.json", "application/json", [read("raw-data")]);
  });
})();
