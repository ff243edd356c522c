-- Steps are counted from 0 in status and from 1 by people.
local rollout = (obj.status or {}).rollout or {}
if not rollout.waitsForApproval then
  error("The rollout does not wait for an approval.")
end
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["bulkhead.dev/approve-step"] = tostring(rollout.step + 1)
return obj
