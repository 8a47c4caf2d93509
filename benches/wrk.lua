-- Sets the request body of the workload `post`, and prints the figures as one line of JSON.
--
-- It does not define `request` and `response`: so wrk builds the request once and does not parse
-- response fields, and the script costs nothing during the load.

function init(args)
   if args[1] == "post" then
      wrk.method = "POST"
      wrk.body = string.rep("0123456789abcdef", 4096)
      wrk.headers["Content-Type"] = "application/octet-stream"
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '\nRESULT {"requests": %d, "duration_us": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, ' ..
      '"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
      summary.requests, summary.duration, summary.bytes,
      latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
