"use strict";
// Adds up the rows of the queries that the filters pick, and shows them.  Text is set as text, never as HTML.
(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const FILTERS = ["by_modality", "by_manufacturer"];
  const ALL = -1;
  const picked = {by_modality: ALL, by_manufacturer: ALL};

  // ---- numbers for people, as in the tables that came with the page ----

  const grouped = new Intl.NumberFormat("en-US", {maximumFractionDigits: 0});

  function showBytes(count) {
    if (count < 1000) return `${count} byte${count === 1 ? "" : "s"}`;
    const units = ["kB", "MB", "GB", "TB", "PB"];
    let power = 1;
    while (count >= 999.5 * 1000 ** power && power < units.length) power += 1;
    const size = count / 1000 ** power;
    return `${size.toFixed(size >= 9.95 ? 0 : 1)} ${units[power - 1]}`;
  }

  function showNumber(name, value) {
    if (value === null || value === undefined) return "";
    return name === "bytes" ? showBytes(value) : grouped.format(value);
  }

  // ---- rows ----

  const isPicked = (place, chosen) => chosen === ALL || place === chosen;

  function* rowsOf(name) {
    const {columns, rows} = data.figures[name];
    for (const row of rows) {
      if (isPicked(row[0], picked.by_modality) && isPicked(row[1], picked.by_manufacturer)) {
        yield Object.fromEntries(columns.map((column, place) => [column, row[place]]));
      }
    }
  }

  // Totals are not sums (a study can be of two modalities), so they have rows of their own.
  function totals(modality, manufacturer) {
    const {columns, rows} = data.figures.archive;
    const row = rows.find(one => one[0] === modality && one[1] === manufacturer);
    return row && Object.fromEntries(columns.map((column, place) => [column, row[place]]));
  }

  function addUp(table) {
    if (table.isTotal) return pickTotals(table);
    const sums = new Map();
    for (const row of rowsOf(table.figure)) {
      const keys = table.keys.map(key => row[key]);
      const name = JSON.stringify(keys);
      const values = sums.get(name)?.values ?? table.measures.map(() => 0);
      sums.set(name, {keys, values: values.map((value, place) => value + row[table.measures[place]])});
    }
    return sorted([...sums.values()]);
  }

  function pickTotals(table) {
    const own = table.keys[0];
    const found = [];
    data.labels[own].forEach((label, place) => {
      if (!isPicked(place, picked[own])) return;
      const where = {...picked, [own]: place};
      const row = totals(where.by_modality, where.by_manufacturer);
      if (row) found.push({keys: [label], values: table.measures.map(measure => row[measure])});
    });
    return sorted(found);
  }

  function sorted(rows) {
    const order = (one, two) => (one < two ? -1 : one > two ? 1 : 0);
    return rows
      .filter(row => row.values[0])
      .sort((one, two) => two.values[0] - one.values[0] || order(String(one.keys), String(two.keys)));
  }

  // ---- tables ----

  function make(tag, text, className) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  }

  function fillTable(element) {
    const table = data.tables[element.dataset.table];
    const rows = addUp(table);
    const most = rows.length ? rows[0].values[0] : 0;
    element.tBodies[0].replaceChildren(...rows.map(row => makeRow(table, row, most)));
    const card = element.closest(".card");
    card.querySelector(".empty").hidden = rows.length > 0;
    card.querySelector(".scroll").hidden = rows.length === 0;
  }

  function makeRow(table, row, most) {
    const line = make("tr");
    row.keys.forEach((key, place) => {
      const cell = make("td", key);
      const explained = place === 0 && Object.hasOwn(table.explained, key) ? table.explained[key] : null;
      if (explained) cell.append(make("small", explained));
      line.append(cell);
    });
    row.values.forEach((value, place) => {
      if (place === 0) {
        const cell = make("td", undefined, "share");
        cell.append(Object.assign(make("meter"), {max: most, value}));
        line.append(cell);
      }
      line.append(make("td", showNumber(table.measures[place], value), "number"));
    });
    return line;
  }

  function fillTiles() {
    const row = totals(picked.by_modality, picked.by_manufacturer) ?? {};
    for (const tile of document.querySelectorAll("[data-tile]")) {
      tile.textContent = showNumber(tile.dataset.tile, row[tile.dataset.tile] ?? 0);
    }
  }

  function sayPicked() {
    const said = FILTERS.filter(name => picked[name] !== ALL).map(name => `${name} is ${data.labels[name][picked[name]]}`);
    const text = said.length ? `Shown are those where ${said.join(" and ")}.` : "";
    for (const element of document.querySelectorAll(".picked")) element.textContent = text;
    document.getElementById("reset").disabled = said.length === 0;
  }

  // ---- charts ----

  const models = {};

  function find(name) {
    for (const document_ of Bokeh.documents) {
      const model = document_.get_model_by_name(name);
      if (model) return model;
    }
    return null;
  }

  function fillYears() {
    const source = find("years");
    const filled = {year: data.years};
    for (const name of Object.keys(source.data)) if (name !== "year") filled[name] = data.years.map(() => 0);
    for (const row of rowsOf("years")) {
      filled[`m${Math.min(row.by_modality, data.stacked)}`][data.years.indexOf(row.year)] += row.instances;
    }
    source.data = filled;
  }

  function fillCompleteness() {
    const by = document.getElementById("heat-by").value;
    const names = document.getElementById("heat-rows").value === "core" && data.core.length
      ? data.core : data.figures.completeness.columns.slice(3);
    const groups = new Map();
    for (const row of rowsOf("completeness")) {
      const sums = groups.get(row[by]) ?? {instances: 0};
      sums.instances += row.instances;
      for (const name of names) sums[`=${name}`] = (sums[`=${name}`] ?? 0) + row[name];
      groups.set(row[by], sums);
    }
    const places = [...groups.keys()].sort((one, two) => one - two);
    const filled = {group: [], attribute: [], share: [], values: [], instances: []};
    for (const place of places) {
      const {instances, ...sums} = groups.get(place);
      for (const name of names) {
        filled.group.push(data.labels[by][place]);
        filled.attribute.push(name);
        filled.share.push(100 * sums[`=${name}`] / instances);
        filled.values.push(sums[`=${name}`]);
        filled.instances.push(instances);
      }
    }
    const chart = models.completeness;
    document.getElementById("chart-completeness").style.minWidth = `${190 + 26 * places.length}px`;
    chart.x_range.factors = places.map(place => data.labels[by][place]);
    chart.y_range.factors = [...names].reverse();
    chart.height = 190 + data.rowHeight * names.length;
    find("completeness").data = filled;
  }

  function fillRuns() {
    const filled = {run: [], files_per_second: [], read: [], seconds: []};
    for (const run of data.runs) for (const name of Object.keys(filled)) filled[name].push(run[name]);
    find("runs").data = filled;
  }

  async function draw() {
    for (const [name, item] of Object.entries(charts)) {
      const views = await Bokeh.embed.embed_item(item, `chart-${name}`);
      models[name] = [...views][0]?.model ?? null;
    }
  }

  // ---- filters ----

  function update() {
    document.querySelectorAll("table[data-table]").forEach(element => {
      if (Object.hasOwn(data.tables, element.dataset.table)) fillTable(element);
    });
    fillTiles();
    sayPicked();
    fillYears();
    fillCompleteness();
  }

  for (const select of document.querySelectorAll("[data-filter]")) {
    select.addEventListener("change", () => {
      picked[select.dataset.filter] = Number(select.value);
      update();
    });
  }
  document.getElementById("reset").addEventListener("click", () => {
    for (const select of document.querySelectorAll("[data-filter]")) {
      select.value = String(ALL);
      picked[select.dataset.filter] = ALL;
    }
    update();
  });
  document.getElementById("heat-by").addEventListener("change", fillCompleteness);
  document.getElementById("heat-rows").addEventListener("change", fillCompleteness);

  await draw();
  update();
  fillRuns();
  document.documentElement.dataset.ready = "yes";
})();
