-- Conditions follow kstatus: Stalled and Reconciling are there only while they hold.
-- Argo CD runs this without the string library.
local status = obj.status or {}
if status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "The operator has not seen this generation yet." }
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  if condition.status == "True" or condition.type == "Ready" then
    conditions[condition.type] = condition
  end
end
local ready = conditions.Ready or { status = "Unknown", message = "" }

if conditions.Stalled then
  return { status = "Degraded", message = conditions.Stalled.message }
end

-- Waiting for a person is not progress: without an answer it would go on for ever.
local rollout = status.rollout or {}
local held = obj.spec.suspend and conditions.Reconciling and rollout.phase ~= "Restore"
if rollout.waitsForApproval or held then
  return { status = "Suspended", message = ready.message }
end

if ready.status == "True" and not conditions.Reconciling then
  return { status = "Healthy", message = ready.message }
end
return { status = "Progressing", message = (conditions.Reconciling or ready).message }
