// The requests to the service, with a function for each. If the service refuses one, an Error with its message is thrown.

async function request(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Error("the service does not answer; check that it is running");
  }
  if (answer.ok) return answer;
  let words = `the service answers with the status ${answer.status}`;
  try {
    words = (await answer.json()).detail;
  } catch { /* the answer is not JSON, but the page of a proxy */ }
  const wait = answer.headers.get("retry-after");
  throw new Error(wait ? `${words} (in about ${wait} s)` : words);
}

export const info = async () => (await request("v1/settings")).json();
export const example = async (name) => (await request(`v1/example/${name}`)).blob();
export const file = async (address) => (await request(address)).blob();

/** Begin a job. `pictures` is field -> Blobs, and `fields` is field -> text. */
export async function begin(pictures, fields) {
  const form = new FormData();
  for (const [name, blobs] of Object.entries(pictures)) for (const blob of blobs) form.append(name, blob, "picture");
  for (const [name, text] of Object.entries(fields)) form.append(name, text);
  return (await request("v1/jobs", { method: "POST", body: form })).json();
}

export const remove = (id) => request(`v1/jobs/${id}`, { method: "DELETE" });

/** Cancel a job while the page is being closed. */
export const abandon = (id) => fetch(`v1/jobs/${id}`, { method: "DELETE", keepalive: true });

/** Follow a job. Calls `onState` with each of its states, and resolves with the last one. */
export function follow(id, onState) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(`v1/jobs/${id}/events`);
    source.addEventListener("job", (event) => {
      const job = JSON.parse(event.data);
      onState(job);
      if (["done", "failed", "cancelled"].includes(job.state)) {
        source.close();
        resolve(job);
      }
    });
    source.onerror = async () => {
      if (source.readyState !== EventSource.CLOSED) return; // the browser connects again
      reject(new Error("the service no longer reports the progress of the job; check that it is running"));
    };
  });
}
