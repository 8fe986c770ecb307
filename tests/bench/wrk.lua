-- Arguments after `--`: a file with one path per line, or nothing for the path of the URL; and for
-- how many milliseconds a connection pauses between two requests.
-- Prints one line of JSON when done, since wrk's own summary is written for people.

local requests = {}
local position = 0

function init(arguments)
  pause = tonumber(arguments[2] or 0)
  if pause > 0 then
    delay = next_pause
  end
  if arguments[1] == nil or arguments[1] == "" then
    return
  end
  for path in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("GET", path)
  end
  request = next_request -- wrk builds a request each time only where this function exists
end

function next_pause() -- between nothing and twice as long, lest connections ask in step
  return math.random(0, 2 * pause)
end

function next_request()
  position = position % #requests + 1
  return requests[position]
end

function done(summary, latency, _)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format(
    'REPORT {"requests": %d, "seconds": %.6f, "errors": %d, "p50_ms": %.3f, "p99_ms": %.3f}',
    summary.requests, summary.duration / 1e6, failed,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
