using 'main.bicep'

param name = 'incidentlabs'
param preset = 'buffering'
// OPERATOR_PRINCIPAL_ID=$(az ad signed-in-user show --query id --output tsv)
param operatorPrincipalId = readEnvironmentVariable('OPERATOR_PRINCIPAL_ID', '')
