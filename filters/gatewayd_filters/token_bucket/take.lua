-- Answers several questions about token buckets, one after the other, on Redis' own clock.
--
-- KEYS: the buckets. ARGV: seconds of the truth meter's window, and a text of numbers: for each
-- question the number of its charges, and for each charge the index of its bucket, rate (tokens per
-- second), burst and cost. Returns a text as well: for each question 1 or 0 (taken or not), and for
-- each charge what the bucket held before. Behind that, for each bucket that could not be read: its
-- index, negative; and for each bucket whose window has ended: its index, what was granted in it by
-- all nodes, and its seconds. (As texts, since a client takes longer for each item of a call or an
-- answer than for what is in it.)
--
-- A bucket is "TOKENS STAMP GRANTED SINCE": tokens with all digits of a double, and microseconds,
-- which are exact in a double for some centuries; what was granted, and since when. It expires when
-- it is full again, as a missing one is full. So is one that holds anything else, which is written
-- anew: what it held is as lost as if Redis had dropped it, and the other buckets are not to suffer.

local TOLERANCE = 1e-6 -- tokens that may be missing, for errors of rounding; as in memory.py
local AHEAD = 1000000 -- microseconds by which clocks may differ. A stamp further in the future was
-- written before the clock was set back, or by a primary whose clock was wrong: no token would come
-- until then, for who goes on asking. None comes for that time, but from now on.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local window = tonumber(ARGV[1]) * 1000000
local held, stamp, granted, since, changed = {}, {}, {}, {}, {}
local damaged = {}

-- Gives what a bucket's key holds; nothing where that is no bucket, false where there is no key.
local function read(index)
  local value = redis.pcall('GET', KEYS[index])
  if type(value) == 'table' then
    if not string.find(value.err, 'WRONGTYPE', 1, true) then
      redis.call('GET', KEYS[index]) -- which fails again, for the caller to see
    end
    return nil
  end
  if not value then
    return false
  end
  local tokens, at, taken, from = string.match(value, '^(%S+) (%d+) (%S+) (%d+)$')
  if not tokens then
    return nil
  end
  tokens, taken = tonumber(tokens), tonumber(taken)
  -- Written so that "not a number" fails; what is owed is TOLERANCE at most.
  if tokens and taken and tokens >= -1 and taken >= 0 and taken < math.huge then
    return tokens, tonumber(at), taken, tonumber(from)
  end
  return nil
end

local function load(index, rate, burst)
  if held[index] == nil then
    held[index], stamp[index], granted[index], since[index] = read(index)
    if not held[index] then
      if held[index] == nil then
        damaged[#damaged + 1] = -index
      end
      held[index], stamp[index] = burst, now
      granted[index], since[index] = 0, now
    end
  end
  if now > stamp[index] then
    held[index] = held[index] + (now - stamp[index]) / 1000000 * rate
    stamp[index] = now
  elseif stamp[index] - now > AHEAD then
    stamp[index] = now
  end
  if since[index] - now > AHEAD then -- what was granted since then is of no known time
    granted[index], since[index] = 0, now
  end
  if held[index] > burst then
    held[index] = burst
  end
  return held[index]
end

local numbers = {}
for number in string.gmatch(ARGV[2], '%S+') do
  numbers[#numbers + 1] = tonumber(number)
end

local answers = {}
local position = 1
while position <= #numbers do
  local count = numbers[position]
  position = position + 1
  local charges, allowed = {}, true
  for i = 1, count do
    local charge = {
      index = numbers[position],
      rate = numbers[position + 1],
      burst = numbers[position + 2],
      cost = numbers[position + 3],
    }
    position = position + 4
    charge.before = load(charge.index, charge.rate, charge.burst)
    if charge.before + TOLERANCE < charge.cost then
      allowed = false
    end
    charges[i] = charge
  end
  answers[#answers + 1] = allowed and 1 or 0
  for i = 1, count do
    local charge = charges[i]
    answers[#answers + 1] = string.format('%.17g', charge.before)
    if allowed then
      held[charge.index] = held[charge.index] - charge.cost
      granted[charge.index] = granted[charge.index] + charge.cost
    end
    changed[charge.index] = charge
  end
end

for i = 1, #damaged do
  answers[#answers + 1] = damaged[i]
end
for index, charge in pairs(changed) do
  if now - since[index] >= window then
    answers[#answers + 1] = index
    answers[#answers + 1] = string.format('%.17g', granted[index])
    answers[#answers + 1] = string.format('%.6f', (now - since[index]) / 1000000)
    granted[index], since[index] = 0, now
  end
  -- Redis refuses an expiry that does not fit in 64 bits; this is some thousand years.
  local milliseconds = math.min(math.ceil((charge.burst - held[index]) / charge.rate * 1000), 1e14)
  if milliseconds > 0 then
    local value = string.format(
      '%.17g %.0f %.17g %.0f', held[index], stamp[index], granted[index], since[index]
    )
    -- A second more, as this clock and that of expiry are not read at the same time.
    redis.call('SET', KEYS[index], value, 'PX', string.format('%.0f', milliseconds + 1000))
  end
end
return table.concat(answers, ' ')
