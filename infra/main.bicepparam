using 'main.bicep'

param name = 'incidentlabs'
param preset = 'buffering'
// OPERATOR_PRINCIPAL_ID=$(az ad signed-in-user show --query id --output tsv)
param operatorPrincipalId = readEnvironmentVariable('OPERATOR_PRINCIPAL_ID', '')
// ALLOWED_ADDRESSES=203.0.113.7/32 (yours; several with commas; 0.0.0.0/0 admits everyone)
param allowedAddresses = split(readEnvironmentVariable('ALLOWED_ADDRESSES'), ',')
