-- Posts orders with keys that no two requests share: 128 random bits, seeded for each thread by the system.
-- Usage: wrk -s orders.lua URL -- PATH ITEMS      ITEMS 0 posts one order, else arrays of so many.
-- The request is laid out once; for each sending only its keys are written anew, so that the load costs little.

local ffi = require("ffi")

local HOLE = string.rep("0", 32)
local ORDER = '{"record_id": "' .. HOLE .. '", "parameter_1": "' .. string.rep("abc ", 16) .. '", "parameter_2": 4.25}'

local request_bytes, request_length
local holes = {}
local digits = ffi.new("uint8_t[16]", { string.byte("0123456789abcdef", 1, 16) })

local function seed()
  local system = assert(io.open("/dev/urandom", "rb"))
  local a, b, c, d, e, f = string.byte(system:read(6), 1, 6)
  system:close()
  math.randomseed(((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f)
end

local function body(items)
  if items == 0 then
    return ORDER
  end
  local orders = {}
  for at = 1, items do
    orders[at] = ORDER
  end
  return "[" .. table.concat(orders, ", ") .. "]"
end

function init(args)
  seed()
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  local text = wrk.format("POST", args[1], wrk.headers, body(tonumber(args[2])))
  request_length = #text
  request_bytes = ffi.new("uint8_t[?]", request_length)
  ffi.copy(request_bytes, text, request_length)
  local from = 1
  while true do
    local at = string.find(text, HOLE, from, true)
    if not at then
      break
    end
    holes[#holes + 1] = at - 1
    from = at + 32
  end
end

function request()
  for hole = 1, #holes do
    local at = holes[hole]
    for place = at, at + 31, 4 do
      local bits = math.random(0, 65535)
      request_bytes[place] = digits[bit.band(bits, 15)]
      request_bytes[place + 1] = digits[bit.band(bit.rshift(bits, 4), 15)]
      request_bytes[place + 2] = digits[bit.band(bit.rshift(bits, 8), 15)]
      request_bytes[place + 3] = digits[bit.rshift(bits, 12)]
    end
  end
  return ffi.string(request_bytes, request_length)
end

function done(summary, latency, requests)
  local failed = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %.6f, "refused": %d, "broken": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n',
    summary.requests, summary.duration / 1e6, failed.status,
    failed.connect + failed.read + failed.write + failed.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
