// Reads server-sent events from the body of a fetch: EventSource can send neither a key nor a POST.

const MOST_CHARACTERS = 8 * 1024 * 1024; // of one event; more is not ours

/** Yield every event as its name and its decoded JSON; comments and empty events are skipped. */
export async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      const frames = rest.split("\n\n");
      rest = frames.pop();
      if (rest.length > MOST_CHARACTERS) throw new RangeError("an event is too long");
      for (const frame of frames) {
        const event = eventOf(frame);
        if (event !== null) yield event;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

function eventOf(frame) {
  let event = "message";
  const data = [];
  for (const line of frame.split("\n")) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5));
  }
  return data.length ? { event, data: JSON.parse(data.join("\n")) } : null;
}
