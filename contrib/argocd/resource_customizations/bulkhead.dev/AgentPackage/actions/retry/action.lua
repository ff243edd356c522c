-- Every new value is one more attempt. When the version was taken back is such a value, and
-- pressing twice is still one attempt.
local rollout = (obj.status or {}).rollout or {}
if rollout.phase ~= "Restore" and rollout.phase ~= "Restored" then
  error("No version was taken back.")
end
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["bulkhead.dev/retry"] = "after-" .. tostring(rollout.since)
return obj
