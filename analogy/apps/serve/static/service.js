// What the service can do: one function for each request. What it refuses is an Error with its one line.

async function asked(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Error("the service does not answer; is it still running?");
  }
  if (answer.ok) return answer;
  let words = `the service answers ${answer.status}`;
  try {
    words = (await answer.json()).detail;
  } catch { /* no JSON: a proxy's page, say */ }
  const wait = answer.headers.get("retry-after");
  throw new Error(wait ? `${words} (in about ${wait} s)` : words);
}

export const offer = async () => (await asked("v1/settings")).json();
export const example = async (name) => (await asked(`v1/example/${name}`)).blob();
export const file = async (address) => (await asked(address)).blob();

/** Begin a job. `pictures`: name of the field -> Blobs; `fields`: name -> text. */
export async function begin(pictures, fields) {
  const form = new FormData();
  for (const [name, blobs] of Object.entries(pictures)) for (const blob of blobs) form.append(name, blob, "picture");
  for (const [name, text] of Object.entries(fields)) form.append(name, text);
  return (await asked("v1/jobs", { method: "POST", body: form })).json();
}

export const remove = (id) => asked(`v1/jobs/${id}`, { method: "DELETE" });

/** Cancel a job while the page is being closed. */
export const abandon = (id) => fetch(`v1/jobs/${id}`, { method: "DELETE", keepalive: true });

/** Follow a job: `told` is called with each of its states. Resolves with the last. */
export function follow(id, told) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(`v1/jobs/${id}/events`);
    source.addEventListener("job", (event) => {
      const job = JSON.parse(event.data);
      told(job);
      if (["done", "failed", "cancelled"].includes(job.state)) {
        source.close();
        resolve(job);
      }
    });
    source.onerror = async () => {
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      reject(new Error("the service no longer tells how the job goes on; is it still running?"));
    };
  });
}
