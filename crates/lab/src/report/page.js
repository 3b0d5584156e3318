'use strict';
// Draws the charts from the data in the page, moves one moment through all of them, and follows a run that is under way.
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  let { live, model } = JSON.parse(byId('data').textContent);
  const slider = byId('moment');
  const figures = [...document.querySelectorAll('.panel')];
  const SIGNS = ['✕', '■', '▲', '●'];
  const HEIGHT = { memory: 240 };
  let charts = [];
  let view = { min: 0, max: model.end };
  let moment = 0;
  let errors = 0;
  addEventListener('error', () => { errors += 1; root.dataset.errors = errors; });

  const color = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const pad = (number, width) => String(Math.floor(number)).padStart(width, '0');

  function clock(offset, withMillis) {
    const at = new Date(model.start + offset);
    const time = `${pad(at.getUTCHours(), 2)}:${pad(at.getUTCMinutes(), 2)}:${pad(at.getUTCSeconds(), 2)}`;
    return withMillis ? `${time}.${pad(at.getUTCMilliseconds(), 3)}` : time;
  }

  const phaseAt = (offset) => model.phases.find((it) => it.from <= offset && offset < it.to);

  // The series of a panel on one list of times, as the library wants them; marks stand on lanes of their own.
  function aligned(panel) {
    const times = [...new Set(panel.series.flatMap((it) => it.t))].sort((a, b) => a - b);
    const place = new Map(times.map((time, index) => [time, index]));
    const columns = panel.series.map((series, lane) => {
      const column = new Array(times.length).fill(null);
      series.t.forEach((time, index) => {
        column[place.get(time)] = series.kind === 'events' ? panel.series.length - lane : series.v[index];
      });
      return column;
    });
    return [times, ...columns];
  }

  function shadePhases(u) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    model.phases.forEach((phase, index) => {
      const left = u.valToPos(phase.from, 'x', true);
      const right = u.valToPos(phase.to, 'x', true);
      if (index % 2 === 0) {
        ctx.fillStyle = color('--phase');
        ctx.fillRect(left, bbox.top, right - left, bbox.height);
      }
    });
    ctx.restore();
  }

  function namePhases(u) {
    const { ctx, bbox } = u;
    const scale = devicePixelRatio;
    ctx.save();
    ctx.font = `${11 * scale}px system-ui, sans-serif`;
    ctx.fillStyle = color('--quiet');
    ctx.textAlign = 'center';
    ctx.textBaseline = 'top';
    for (const phase of model.phases) {
      const left = Math.max(u.valToPos(phase.from, 'x', true), bbox.left);
      const right = Math.min(u.valToPos(phase.to, 'x', true), bbox.left + bbox.width);
      if (right - left > ctx.measureText(phase.name).width + 6 * scale) {
        ctx.fillText(phase.name, (left + right) / 2, bbox.top - 14 * scale);
      }
    }
    ctx.restore();
  }

  function shadeBands(u) {
    const { ctx, bbox } = u;
    const scale = devicePixelRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.font = `${11 * scale}px system-ui, sans-serif`;
    (model.bands || []).forEach((band, index) => {
      const top = band.toMB === null ? bbox.top : u.valToPos(band.toMB, 'y', true);
      const bottom = u.valToPos(band.fromMB || 0, 'y', true);
      ctx.fillStyle = color(`--band${Math.min(index, 3)}`);
      ctx.fillRect(bbox.left, top, bbox.width, bottom - top);
      if (bottom - top > 14 * scale) {
        ctx.fillStyle = color('--quiet');
        ctx.textAlign = 'right';
        ctx.textBaseline = 'bottom';
        ctx.fillText(band.name, bbox.left + bbox.width - 6 * scale, bottom - 2 * scale);
      }
    });
    if (model.limitMB) {
      const y = u.valToPos(model.limitMB, 'y', true);
      ctx.strokeStyle = color('--bad');
      ctx.lineWidth = 1.5 * scale;
      ctx.setLineDash([6 * scale, 4 * scale]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.fillStyle = color('--bad');
      ctx.textAlign = 'left';
      ctx.textBaseline = 'top';
      ctx.fillText(`limit ${Math.round(model.limitMB)} MiB`, bbox.left + 6 * scale, y + 3 * scale);
    }
    ctx.restore();
  }

  function drawMarks(u, panel) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.font = `${13 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = 'center';
    ctx.textBaseline = 'middle';
    panel.series.forEach((series, lane) => {
      ctx.fillStyle = color(`--s${lane}`);
      const y = u.valToPos(panel.series.length - lane, 'y', true);
      for (const time of series.t) ctx.fillText(SIGNS[lane], u.valToPos(time, 'x', true), y);
    });
    ctx.restore();
  }

  function spec(series, index) {
    const stroke = color(`--s${index}`);
    if (series.kind === 'events') return { label: series.name, paths: () => null, points: { show: false } };
    if (series.kind === 'points') {
      return { label: series.name, stroke, paths: () => null, points: { show: true, size: 5, stroke, fill: color('--sheet') } };
    }
    // Lines differ in their dashes as well as in their colours.
    const dash = [[], [7, 3], [2, 3], [9, 3, 2, 3]][index];
    return { label: series.name, stroke, width: 2, dash, spanGaps: true, points: { show: series.t.length < 3, size: 6, fill: stroke } };
  }

  function options(panel, width) {
    const isEvents = panel.series.every((it) => it.kind === 'events');
    const lanes = panel.series.length;
    const axis = { stroke: color('--quiet'), font: '11px system-ui, sans-serif', grid: { stroke: color('--grid'), width: 1 }, ticks: { show: false } };
    const peak = Math.max(1e-9, ...panel.series.flatMap((it) => it.v));
    const top = panel.bands && model.limitMB ? Math.max(model.limitMB * 1.12, peak * 1.05) : peak * 1.08;
    return {
      width,
      height: isEvents ? 54 + 22 * lanes : HEIGHT[panel.id] || 170,
      padding: [18, 26, 0, 0],
      legend: { show: false },
      cursor: { x: false, y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
      scales: {
        x: { time: false, range: () => [view.min, view.max] },
        y: { range: () => (isEvents ? [0.4, lanes + 0.6] : [0, top]) },
      },
      axes: [
        { ...axis, size: 24, gap: 3, space: 90, splits: timeSplits, values: (_, at) => at.map((it) => clock(it, false)) },
        isEvents
          ? { ...axis, size: 58, gap: 2, splits: () => [], grid: { show: false } }
          : { ...axis, size: 58, gap: 4, space: 32 },
      ],
      series: [{}, ...panel.series.map(spec)],
      hooks: {
        drawClear: [shadePhases, ...(panel.bands ? [shadeBands] : [])],
        draw: [placeLine, namePhases, ...(isEvents ? [(u) => drawMarks(u, panel)] : [])],
        setCursor: [(u) => { if (u.cursor.left >= 0 && u.hovered) setMoment(u.posToVal(u.cursor.left, 'x')); }],
        setSelect: [(u) => {
          if (u.select.width > 8) zoomTo(u.posToVal(u.select.left, 'x'), u.posToVal(u.select.left + u.select.width, 'x'));
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        }],
      },
    };
  }

  const STEPS = [100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 108e5, 216e5, 864e5];

  function timeSplits(u) {
    const most = Math.max(2, Math.floor(u.width / 90));
    const span = view.max - view.min;
    const step = STEPS.find((it) => span / it <= most) || span;
    // Round times of the clock, not of the axis.
    const first = Math.ceil((view.min + model.start) / step) * step - model.start;
    const splits = [];
    for (let at = first; at <= view.max; at += step) splits.push(at);
    return splits;
  }

  function draw() {
    charts.forEach((it) => it.u.destroy());
    charts = [];
    model.panels.forEach((panel, index) => {
      const figure = figures[index];
      const plot = figure.querySelector('.plot');
      plot.textContent = '';
      const told = figure.querySelector('.missing');
      told.textContent = panel.missing.join(' ');
      told.hidden = panel.missing.length === 0;
      const hasPoints = panel.series.some((it) => it.t.length > 0);
      plot.hidden = !hasPoints;
      figure.querySelector('details').hidden = !hasPoints;
      readouts(figure, panel, hasPoints);
      if (!hasPoints) return;
      const u = new uPlot(options(panel, plot.clientWidth), aligned(panel), plot);
      const line = document.createElement('div');
      line.className = 'moment';
      u.over.append(line);
      u.moment = line;
      u.over.addEventListener('mouseenter', () => { u.hovered = true; });
      u.over.addEventListener('mouseleave', () => { u.hovered = false; });
      u.over.addEventListener('dblclick', () => zoomTo(0, model.end));
      charts.push({ u, panel, figure });
    });
    setMoment(moment);
    root.dataset.charts = charts.length;
    root.dataset.width = root.scrollWidth;
  }

  function readouts(figure, panel, hasPoints) {
    const list = figure.querySelector('.readout');
    list.replaceChildren(...(hasPoints ? panel.series : []).map((series, index) => {
      const item = document.createElement('li');
      const key = document.createElement('span');
      key.className = 'key';
      key.setAttribute('aria-hidden', 'true');
      key.style.color = color(`--s${index}`);
      key.textContent = series.kind === 'events' ? SIGNS[index] : series.kind === 'points' ? '○' : ['━', '╍', '┅', '╌'][index];
      const value = document.createElement('b');
      value.textContent = '–';
      item.append(key, `${series.name}: `, value);
      return item;
    }));
  }

  // What a series has at a moment: the last point at or before it; marks are counted.
  function valueAt(series, unit) {
    let low = 0;
    let high = series.t.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (series.t[middle] <= moment) low = middle + 1; else high = middle;
    }
    if (series.kind === 'events') return `${low} of ${series.t.length}`;
    return low === 0 ? '–' : `${series.v[low - 1]}${unit === 'per second' ? '/s' : unit ? ` ${unit}` : ''}`;
  }

  function placeLine(u) {
    const left = u.valToPos(moment, 'x');
    // Without a size there is no place yet: the first drawing comes later.
    if (!u.moment || !Number.isFinite(left)) return;
    u.moment.hidden = !(left >= 0 && left <= u.over.clientWidth);
    u.moment.style.transform = `translateX(${left}px)`;
  }

  function setMoment(offset) {
    moment = Math.min(Math.max(Math.round(offset), 0), model.end);
    slider.max = model.end;
    slider.step = Math.max(1, Math.round(model.end / 1000));
    slider.value = moment;
    const phase = phaseAt(moment);
    const told = `${clock(moment, true)}${phase ? `, ${phase.name}` : ''}`;
    byId('when').textContent = told;
    const values = [];
    for (const { u, panel, figure } of charts) {
      placeLine(u);
      figure.querySelectorAll('.readout b').forEach((it, index) => {
        it.textContent = valueAt(panel.series[index], panel.unit);
        values.push(`${panel.series[index].name} ${it.textContent}`);
      });
    }
    slider.setAttribute('aria-valuetext', `${told}; ${values.join(', ')}`);
    root.dataset.moment = moment;
  }

  function zoomTo(min, max) {
    const least = 200;
    const from = Math.max(0, Math.min(min, model.end - least));
    view = { min: from, max: Math.min(model.end, Math.max(max, from + least)) };
    charts.forEach(({ u }) => u.setScale('x', view));
    setMoment(moment);
  }

  function zoom(how) {
    const span = view.max - view.min;
    const around = moment >= view.min && moment <= view.max ? moment : (view.min + view.max) / 2;
    if (how === 'in') zoomTo(around - span / 4, around + span / 4);
    if (how === 'out') zoomTo(around - span, around + span);
    if (how === 'left') shift(-span / 2);
    if (how === 'right') shift(span / 2);
    if (how === 'reset') zoomTo(0, model.end);
  }

  function shift(by) {
    const span = view.max - view.min;
    const min = Math.min(Math.max(0, view.min + by), model.end - span);
    zoomTo(min, min + span);
  }

  slider.addEventListener('input', () => setMoment(Number(slider.value)));
  for (const button of document.querySelectorAll('[data-zoom]')) {
    button.addEventListener('click', () => zoom(button.dataset.zoom));
  }
  byId('charts').addEventListener('keydown', (event) => {
    const how = { '+': 'in', '=': 'in', '-': 'out', 0: 'reset' }[event.key];
    if (how && !event.ctrlKey && !event.metaKey && !event.altKey) { zoom(how); event.preventDefault(); }
  });

  // `#t=12.5` is a moment in seconds from the beginning; `#c-…` opens its criterion.
  function follow() {
    const time = /^#t=([\d.]+)$/.exec(location.hash);
    if (time) setMoment(Number(time[1]) * 1000);
    const target = location.hash.startsWith('#c-') && byId(location.hash.slice(1));
    if (target) { target.open = true; target.scrollIntoView(); }
  }
  addEventListener('hashchange', follow);

  let resized = 0;
  addEventListener('resize', () => {
    cancelAnimationFrame(resized);
    resized = requestAnimationFrame(draw);
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);

  draw();
  const incident = model.phases.find((it) => it.name === 'incident');
  setMoment(incident ? (incident.from + incident.to) / 2 : model.end / 2);
  follow();

  function take(news) {
    const isWhole = view.min === 0 && view.max === model.end;
    const isLast = moment === model.end;
    model = news.model;
    if (isWhole) view = { min: 0, max: model.end };
    if (isLast) moment = model.end;
    for (const [name, content] of news.parts) {
      const part = document.querySelector(`[data-part="${name}"]`);
      const place = part.querySelector('[data-content]');
      if (part.said !== content) { place.innerHTML = content; part.said = content; part.hidden = content === ''; }
    }
    news.figures.forEach(([label, table], index) => {
      figures[index].querySelector('.plot').setAttribute('aria-label', label);
      const place = figures[index].querySelector('[data-table]');
      if (place.said !== table) { place.innerHTML = table; place.said = table; }
    });
    draw();
  }

  async function ask() {
    try {
      const answer = await fetch('data.json');
      if (answer.ok) {
        const news = await answer.json();
        take(news);
        root.dataset.ended = news.ended;
        if (news.ended) return;
      }
    } catch (error) {
      byId('keys').textContent = 'The lab does not answer any more. When the run has ended, its page is report.html in the run’s folder.';
      return;
    }
    setTimeout(ask, 2000);
  }
  if (live) ask();
})();
