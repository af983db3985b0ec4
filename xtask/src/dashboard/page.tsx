// The packaged dashboard, drawn with the components that Grafana's panels are made of, from the answers of a Prometheus
// at its default port.

import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import {
  applyFieldOverrides,
  createTheme,
  dateTime,
  FieldType,
  getFieldDisplayValues,
  standardFieldConfigEditorRegistry,
  toDataFrame,
} from '@grafana/data';
import {
  BigValue,
  BigValueGraphMode,
  BigValueTextMode,
  GlobalStyles,
  PanelChrome,
  ThemeContext,
  TimeSeries,
} from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import dashboard from '../../../tcptrace/packaging/grafana/tcptrace.json';

// Defined by the bundler: pixels, seconds of data, and seconds between scrapes.
declare const WIDTH: number, SECONDS: number, INTERVAL: number;

// The others are collapsed. No component draws the heat map of "Durations".
const OPEN = ['Now', 'Leaks', 'Connects and ends', 'TIME_WAIT and ports'];

// Grafana's grid: 24 columns, and rows of 30 pixels.
const GAP = 8;
const COLUMN = (WIDTH - GAP) / 24;
const ROW = 30 + GAP;

const end = Math.floor(Date.now() / 1000 / INTERVAL) * INTERVAL;
const begin = end - SECONDS;
const times = Array.from({ length: SECONDS / INTERVAL + 1 }, (_, index) => begin + index * INTERVAL);
const range = { from: dateTime(begin * 1000), to: dateTime(end * 1000) };
const timeRange = { ...range, raw: range };

const variables = { job: '.*', instance: '.*', __range: `${SECONDS}s`, __rate_interval: `${4 * INTERVAL}s` };
const replace = (text: string, values: Record<string, string>, pattern: RegExp) =>
  text.replace(pattern, (_, name) => values[name] ?? '');

const theme = createTheme({ colors: { mode: 'dark' } });
const common = { theme, timeZone: 'utc', replaceVariables: (text: string) => text };

// What the plugins of the panels have by default.
const defaultsOf = (type: string) => ({
  color: { mode: type === 'stat' ? 'thresholds' : 'palette-classic' },
  thresholds: { mode: 'absolute', steps: [{ color: 'green', value: -Infinity }, { color: 'red', value: 80 }] },
});

// A frame for each series of the answer.
async function query({ type, fieldConfig: { defaults } }: any, { expr, legendFormat, refId }: any) {
  const query = replace(expr, variables, /\$(\w+)/g);
  const parameters = new URLSearchParams({ query, start: `${begin}`, end: `${end}`, step: `${INTERVAL}` });
  const answer = await (await fetch(`http://127.0.0.1:9090/api/v1/query_range?${parameters}`)).json();
  if (answer.status !== 'success') {
    throw new Error(`${query}: ${answer.error}`);
  }
  return answer.data.result.map(({ metric, values }: any) => {
    const found = new Map<number, string>(values);
    const numbers = times.map((time) => (found.has(time) ? Number(found.get(time)) : null));
    const config = {
      ...defaultsOf(type),
      ...defaults,
      custom: { lineWidth: 1, ...defaults.custom },
      displayNameFromDS: replace(legendFormat, metric, /{{(\w+)}}/g),
    };
    return toDataFrame({
      refId,
      fields: [
        { name: 'Time', type: FieldType.time, values: times.map((time) => time * 1000) },
        { name: 'Value', type: FieldType.number, values: numbers, labels: metric, config },
      ],
    });
  });
}

function Content({ panel, data, width, height }: any) {
  const { type, fieldConfig, options } = panel;
  if (data.length === 0) {
    return <div style={{ lineHeight: `${height}px`, textAlign: 'center' }}>No data</div>;
  }
  if (type !== 'stat') {
    const legend = { showLegend: true, calcs: [], ...options.legend };
    return <TimeSeries frames={data} {...{ width, height, timeRange, legend }} timeZone="utc" options={{}} />;
  }
  const { reduceOptions, colorMode, graphMode = BigValueGraphMode.Area } = options;
  const asked = { ...common, fieldConfig, data, reduceOptions, sparkline: true };
  const [{ display, sparkline }] = getFieldDisplayValues(asked);
  const modes = { colorMode, graphMode, textMode: BigValueTextMode.Auto };
  return <BigValue value={display} {...{ ...modes, sparkline, width, height, theme }} />;
}

// The element of a panel or of a row's title, with its top in rows of the grid.
async function element(panel: any, top: number) {
  const { x, w, h } = panel.gridPos;
  const style = { position: 'absolute', left: GAP + x * COLUMN, top: GAP + top * ROW } as const;
  if (panel.type === 'row') {
    const arrow = OPEN.includes(panel.title) ? '⌄' : '›';
    return <div key={panel.id} style={{ ...style, lineHeight: '30px', fontWeight: 500 }}>{arrow} {panel.title}</div>;
  }
  const frames = (await Promise.all(panel.targets.map((target: any) => query(panel, target)))).flat();
  const data = applyFieldOverrides({ ...common, data: frames, fieldConfig: { defaults: {}, overrides: [] } });
  return (
    <div key={panel.id} style={style}>
      <PanelChrome title={panel.title} width={w * COLUMN - GAP} height={h * ROW - GAP}>
        {(width, height) => <Content {...{ panel, data, width, height }} />}
      </PanelChrome>
    </div>
  );
}

async function draw() {
  standardFieldConfigEditorRegistry.setInit(() => []);
  const drawn = [];
  let isOpen = false;
  let collapsed = 0;
  for (const panel of dashboard.panels) {
    const { x, y, h } = panel.gridPos;
    if (panel.type === 'row') {
      isOpen = OPEN.includes(panel.title);
    } else if (!isOpen) {
      collapsed += x === 0 ? h : 0;
      continue;
    }
    drawn.push(await element(panel, y - collapsed));
  }
  await document.fonts.ready;
  createRoot(document.body).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      {drawn}
    </ThemeContext.Provider>
  );
}

draw().catch((error) => (document.body.textContent = error.stack));
