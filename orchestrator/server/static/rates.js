// Two documents of counters -> what happened between them.

const WINDOW_S = 3;

/** Keeps the last documents, and takes rates over the last seconds. */
export class Rates {
  #documents = [];

  /** What the newest document says beside one of about three seconds ago; null where there is nothing new to say. */
  add(document) {
    const last = this.#documents.at(-1);
    if (last && document.at_s <= last.at_s) return null; // the same once more, or an older one of another process
    if (last && restarted(last.counters, document.counters)) this.#documents = [];
    this.#documents.push(document);
    while (this.#documents.length > 2 && document.at_s - this.#documents[1].at_s >= WINDOW_S) this.#documents.shift();
    const [before] = this.#documents;
    return before === document ? null : between(before.counters, document.counters, document.at_s - before.at_s);
  }
}

const answered = (api, wanted = () => true) =>
  Object.entries(api.statuses).reduce((sum, [status, count]) => sum + (wanted(Number(status)) ? count : 0), 0);

const restarted = (before, after) =>
  Object.keys(after.apis).some((name) => answered(after.apis[name]) < answered(before.apis[name] ?? { statuses: {} }));

function between(before, after, passed_s) {
  const apis = Object.entries(after.apis).map(([name, now]) => {
    const then = before.apis[name] ?? { statuses: {}, buckets: [] };
    const buckets = now.buckets.map((count, n) => count - (then.buckets[n] ?? 0));
    return {
      name, buckets,
      requests: answered(now) - answered(then),
      errors: answered(now, failed) - answered(then, failed),
    };
  });
  const buckets = apis.reduce((sum, api) => api.buckets.map((count, n) => count + (sum[n] ?? 0)), []);
  const requests = sumOf(apis, "requests");
  const queue = { waited: after.queue.waited - before.queue.waited, seconds: after.queue.seconds - before.queue.seconds };
  const models = after.models.flatMap((now) => {
    const then = before.models.find((each) => each.model === now.model && each.version === now.version);
    const rows = now.rows - (then?.rows ?? 0), batches = now.batches - (then?.batches ?? 0);
    return rows < 0 || batches < 0 ? [] : [{ rows, batches, requests: now.requests - (then?.requests ?? 0), queue_s: (now.queue_us - (then?.queue_us ?? 0)) / 1e6 }];
  });
  const batches = sumOf(models, "batches"), inTriton = sumOf(models, "requests");
  const waits = [queue.waited ? queue.seconds / requests : 0, inTriton ? sumOf(models, "queue_s") / inTriton : 0];
  return {
    requests: requests / passed_s,
    errors: sumOf(apis, "errors") / passed_s,
    p50: quantile(0.5, buckets, after.bounds_s),
    p99: quantile(0.99, buckets, after.bounds_s),
    wait: requests || inTriton ? waits[0] + waits[1] : null,
    inFlight: Object.values(after.apis).reduce((sum, api) => sum + api.in_progress, 0),
    waiting: after.queue.calls,
    batch: batches ? sumOf(models, "rows") / batches : null,
    apis: Object.fromEntries(apis.map((api) => [api.name, { requests: api.requests / passed_s, p99: quantile(0.99, api.buckets, after.bounds_s) }])),
  };
}

/** Errors are the server's: what callers did wrong is no sign of a sick service. 429 is: somebody got no place. */
const failed = (status) => status >= 500 || status === 429;

const sumOf = (items, key) => items.reduce((sum, item) => sum + item[key], 0);

/** As Prometheus' `histogram_quantile`: linear inside a bucket. Null where nothing was counted. */
export function quantile(share, buckets, bounds) {
  const total = buckets.at(-1) ?? 0;
  if (!total) return null;
  const rank = share * total;
  const n = buckets.findIndex((count) => count >= rank);
  if (bounds[n] === null) return bounds[n - 1] ?? 0;
  const below = n ? buckets[n - 1] : 0, from = n ? bounds[n - 1] : 0;
  return from + (bounds[n] - from) * ((rank - below) / (buckets[n] - below));
}
